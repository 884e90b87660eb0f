"""Finds what is wrong with records: each is read once, pictures included, by several processes."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from llava_edge.core.machine import usable_cores
from llava_edge.core.picture import load_picture
from llava_edge.data.picture_folder import PictureFile
from llava_edge.data.record_table import RecordTable
from llava_edge.data.records import require_pictures
from llava_edge.errors import LargePictureError, PictureError, RecordError, TrainingError
from llava_edge.train.inputs.problems import TOO_LONG, Problems, RecordProblems, joined, keep, kept
from llava_edge.train.inputs.record_encoder import Encoder
from llava_edge.train.recipe import Recipe
from llava_edge.train.watch.terminal_bars import track

FAULTS = "faults.json"
SHARE = 256  # records that a process is given at once
REMEMBERED = 1 << 16  # pictures that several records may name


def check(
    table: RecordTable, encoder: Encoder | None = None, workers: int | None = None
) -> RecordProblems:
    """Read every distinct record and its pictures; what is found is kept beside the table.

    A record counts once, by its first problem. Without an encoder no tokens are counted.
    """
    each = table.distinct()
    faults = _find(_Faults(each), "Checking records", workers)
    keep(faults, each, FAULTS)
    return joined(len(each), faults, _lengths(each, encoder, workers))


def usable_rows(
    table: RecordTable,
    recipe: Recipe,
    encoder: Encoder | None = None,
    workers: int | None = None,
    console: Console | None = None,
) -> NDArray[np.int64]:
    """The positions of the table that may be trained on, as the recipe's bad_records says.

    An earlier check still holds, unless it found faults that are refused: they may be mended by
    now. Raises TrainingError if bad records are refused, or if none is left.
    """
    positions = np.arange(len(table))
    if recipe.bad_records == "stop":
        return positions
    each = table.distinct()
    faults = kept(each, FAULTS)
    if faults is None or (faults and recipe.bad_records == "refuse"):
        report = check(table, encoder, workers)
    else:
        report = joined(len(each), faults, _lengths(each, encoder, workers))
    bad = report.unusable
    what = f"{len(bad):,} of {report.records:,} records cannot be used ({report})"
    if len(bad) and recipe.bad_records == "refuse":
        raise TrainingError(
            f"{what}; `llava-edge data check` with the recipe lists them: mend or drop them, or "
            'set bad_records = "skip".'
        )
    usable: NDArray[np.int64] = positions[~np.isin(table.rows, bad)]
    if not len(usable):
        raise TrainingError(f"{what}, so none is left; `llava-edge data check` lists them.")
    if len(bad) and console:
        console.print(f"{what} and are left out.")
    return usable


class _Faults:
    """A record's own problems, which do not depend on what is trained."""

    def __init__(self, table: RecordTable) -> None:
        self.table = table
        _look_at.cache_clear()  # a picture may have been mended since an earlier check

    def __call__(self, row: int) -> str | None:
        entry = self.table.entry(row)
        try:
            record = entry.record
            require_pictures(record, entry.where)
        except RecordError as error:
            return error.problem
        answers = (message for message in record.messages if message.role == "assistant")
        if not all(message.text.strip() for message in answers):
            return "empty answer"
        return next(filter(None, map(_look_at, record.images)), None)


class _Lengths:
    """The problems of good records that are too long, as an encoder counts tokens."""

    def __init__(self, table: RecordTable, encoder: Encoder) -> None:
        self.table = table
        self._encoder = encoder

    def __call__(self, row: int) -> str | None:
        try:
            record = self.table[row]
        except RecordError:  # a fault, which is not looked for here
            return None
        try:
            if len(self._encoder.whole(record, row)[0]) <= self._encoder.max_tokens:
                return None
            self._encoder(record, row)
        except PictureError:  # likewise
            return None
        except RecordError as error:
            return error.problem
        return TOO_LONG


_Inspection = _Faults | _Lengths


def _lengths(each: RecordTable, encoder: Encoder | None, workers: int | None) -> Problems:
    """What was found before, if anything was: a record of the table never changes."""
    if encoder is None:
        return {}
    file = f"lengths-{encoder.key}.json"
    found = kept(each, file)
    if found is None:
        found = _find(_Lengths(each, encoder), "Counting tokens", workers)
        keep(found, each, file)
    return found


def _find(inspection: _Inspection, words: str, workers: int | None) -> Problems:
    """Find each row's problem, with so many processes; by default one for each core."""
    rows = len(inspection.table)
    shares = [range(start, min(start + SHARE, rows)) for start in range(0, rows, SHARE)]
    workers = min(workers or usable_cores(), len(shares))
    problems: Problems = {}
    answers = _inspected(inspection, shares, workers)
    for _, found in zip(track(shares, words), answers, strict=True):
        for row, problem in found:
            problems.setdefault(problem, []).append(row)
    return problems


def _inspected(
    inspection: _Inspection, shares: list[range], workers: int
) -> Iterator[list[tuple[int, str]]]:
    if workers == 1:
        yield from (_with_problems(inspection, share) for share in shares)
        return
    # Spawned, since a fork copies the locks of threads that it leaves behind.
    with ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_start, initargs=(inspection,)
    ) as pool:
        yield from pool.map(_inspect, shares)


def _with_problems(inspection: _Inspection, rows: Iterable[int]) -> list[tuple[int, str]]:
    found = ((row, inspection(row)) for row in rows)
    return [(row, problem) for row, problem in found if problem]


@lru_cache(REMEMBERED)
def _look_at(picture: PictureFile) -> str | None:
    try:
        load_picture(picture)
    except LargePictureError:
        return "oversized picture"
    except PictureError:
        return "corrupt picture"
    return None


_inspection: _Inspection  # of a process of the pool


def _start(inspection: _Inspection) -> None:
    global _inspection
    _inspection = inspection


def _inspect(rows: range) -> list[tuple[int, str]]:
    return _with_problems(_inspection, rows)
