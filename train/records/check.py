"""What is wrong with records: all are read once, pictures included, by several processes."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from llava_edge.errors import LargePictureError, PictureError, RecordError, TrainingError
from llava_edge.image import load_picture
from llava_edge.records import PictureFile, Record, require_pictures, to_record
from llava_edge.train.recipe import Recipe, Source
from llava_edge.train.records.encode import Encoder, read_encoding
from llava_edge.train.records.table import RecordTable

TOO_LONG = "too long"  # which training cuts off, so such a record is usable all the same
REPORT = "report.json"
SHARE = 256  # records that a process is given at once
REMEMBERED = 1 << 16  # pictures that several records may name


@dataclass(frozen=True)
class Report:
    """How many distinct records there are, and which of the table's rows have which problem."""

    records: int
    problems: dict[str, list[int]]

    @property
    def unusable(self) -> NDArray[np.int64]:
        """The rows that training cannot use."""
        bad = (rows for problem, rows in self.problems.items() if problem != TOO_LONG)
        return np.array(sorted(chain.from_iterable(bad)), np.int64)

    def __str__(self) -> str:
        counts = (f"{len(rows):,} {problem}" for problem, rows in self.problems.items())
        return ", ".join(counts) or "nothing is wrong"


def check(table: RecordTable, encoder: Encoder | None = None, workers: int | None = None) -> Report:
    """Read every distinct record and its pictures; the report is kept beside the table.

    A record counts once, by the first of its problems. Without an encoder no tokens are counted.
    """
    each = table.distinct()
    found: dict[str, list[int]] = {}
    for row, problem in _problems(each, encoder, workers or os.cpu_count() or 1):
        found.setdefault(problem, []).append(row)
    most_first = dict(sorted(found.items(), key=lambda item: -len(item[1])))
    report = Report(len(each), most_first)
    _keep(report, table, encoder)
    return report


def usable_rows(
    table: RecordTable, recipe: Recipe, encoder: Encoder | None = None, workers: int | None = None
) -> NDArray[np.int64]:
    """The positions of the table that may be trained on, as the recipe's bad_records says.

    Raises TrainingError where bad ones are refused, or where none is left.
    """
    positions = np.arange(len(table))
    if recipe.bad_records == "stop":
        return positions
    report = _kept(table, encoder)
    mended = recipe.bad_records == "refuse" and report is not None and len(report.unusable)
    if report is None or mended:
        report = check(table, encoder, workers)
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
    if len(bad):
        Console(stderr=True, highlight=False).print(f"{what} and are left out.")
    return usable


def recipe_encoder(recipe: Recipe) -> Encoder:
    """That of the last stage, whose records are the longest."""
    stage = list(recipe.stages.values())[-1]
    return Encoder.of_stage(read_encoding(recipe), recipe, stage)


def recipe_sources(recipe: Recipe) -> list[Source]:
    """All that the recipe reads, each once, whatever its weights."""
    sources = {(source.records, source.images, source.limit): source for source in recipe.data}
    return list(sources.values())


def _problems(
    table: RecordTable, encoder: Encoder | None, workers: int
) -> Iterator[tuple[int, str]]:
    """Rows and what is wrong with them, in order, under a progress bar."""
    shares = [range(start, min(start + SHARE, len(table))) for start in range(0, len(table), SHARE)]
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Checking records", total=len(table))
        for share, found in zip(shares, _inspected(table, encoder, shares, workers), strict=True):
            bar.advance(task, len(share))
            yield from found


def _inspected(
    table: RecordTable, encoder: Encoder | None, shares: Sequence[range], workers: int
) -> Iterator[list[tuple[int, str]]]:
    workers = min(workers, len(shares))
    if workers == 1:
        yield from map(_Inspector(table, encoder).inspect, shares)
        return
    # Spawned, since a fork copies the locks of threads that it leaves behind.
    with ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_start, initargs=(table, encoder)
    ) as pool:
        yield from pool.map(_inspect, shares)


class _Inspector:
    def __init__(self, table: RecordTable, encoder: Encoder | None) -> None:
        self._table = table
        self._encoder = encoder
        self._look_at = lru_cache(REMEMBERED)(_look_at)

    def inspect(self, rows: Iterable[int]) -> list[tuple[int, str]]:
        """The rows that have a problem."""
        found = ((row, self._problem(row)) for row in rows)
        return [(row, problem) for row, problem in found if problem]

    def _problem(self, row: int) -> str | None:
        entry = self._table.entry(row)
        try:
            record = to_record(entry)
            require_pictures(record, entry.where)
        except RecordError as error:
            return error.problem
        if not all(message.text.strip() for message in record.messages[1::2]):
            return "empty answer"
        bad = next(filter(None, map(self._look_at, record.images)), None)
        return bad or (self._length_problem(record, row) if self._encoder else None)

    def _length_problem(self, record: Record, row: int) -> str | None:
        assert self._encoder is not None
        if len(self._encoder.whole(record, row)[0]) <= self._encoder.max_tokens:
            return None
        try:
            self._encoder(record, row)
        except RecordError:
            return "no answer within max_tokens"
        return TOO_LONG


def _look_at(picture: PictureFile) -> str | None:
    try:
        load_picture(picture)
    except LargePictureError:
        return "oversized picture"
    except PictureError:
        return "corrupt picture"
    return None


_inspector: _Inspector  # of a process of the pool


def _start(table: RecordTable, encoder: Encoder | None) -> None:
    global _inspector
    _inspector = _Inspector(table, encoder)


def _inspect(rows: range) -> list[tuple[int, str]]:
    return _inspector.inspect(rows)


def _keep(report: Report, table: RecordTable, encoder: Encoder | None) -> None:
    """Beside each source's rows, what is wrong with them, numbered from the source's first."""
    for part in table.parts:
        own = {
            problem: [row - part.start for row in rows if part.start <= row < part.stop]
            for problem, rows in report.problems.items()
        }
        temporary = part.folder / f"{REPORT}.{os.getpid()}"
        content = {"counted": str(encoder), "problems": own}
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.replace(part.folder / REPORT)


def _kept(table: RecordTable, encoder: Encoder | None = None) -> Report | None:
    """What was found before, if every source has been checked, with tokens counted like this."""
    problems: dict[str, list[int]] = {}
    for part in table.parts:
        path = part.folder / REPORT
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if content.get("counted") != str(encoder):
            return None
        for problem, rows in content["problems"].items():
            problems.setdefault(problem, []).extend(row + part.start for row in rows)
    return Report(table.parts[-1].stop, {name: rows for name, rows in problems.items() if rows})
