"""The records of a stage, memory-mapped: an Arrow file for each source, built once and kept."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llava_edge.core.files import open_to_others
from llava_edge.core.user_folders import cache_folder
from llava_edge.data.picture_folder import PictureFile, picture_shards
from llava_edge.data.record_types import Record
from llava_edge.data.records import Entry, RecordSource, read_entries
from llava_edge.data.table_file import (
    PACKED,
    VERSION,
    map_rows,
    read_entry,
    read_picture,
    read_record,
    write_entries,
)
from llava_edge.errors import RecordError

ROWS, ABOUT = "rows.arrow", "about.json"
_log = logging.getLogger("llava_edge")


@dataclass(frozen=True)
class TablePart:
    """The rows `start` to `stop` of a table, which belong to one source, and their folder."""

    folder: Path
    start: int
    stop: int


class RecordTable:
    """Positions in an epoch, each a record; a record of a weighted source has several of them.

    `fingerprint` depends on the samples and the weights, not on where files are or on what is
    in the pictures. `rows` [positions] are the distinct records behind the positions, and
    `parts` say to which source a row belongs.
    """

    def __init__(
        self,
        data: pa.Table,
        parts: Sequence[TablePart],
        rows: NDArray[np.int64],
        fingerprint: str,
    ) -> None:
        self._data = data
        self.parts = tuple(parts)
        self.rows = rows
        self.fingerprint = fingerprint

    def __reduce__(self) -> tuple[object, ...]:
        """Another process maps the files itself."""
        return _reopened, (self.parts, self.rows, self.fingerprint)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Record:
        """The record; raises RecordError if it is bad. Its pictures are not looked for."""
        return read_record(self._data, int(self.rows[position]))

    def entry(self, position: int) -> Entry:
        """The record as its file has it, good or bad, and where it stands."""
        return read_entry(self._data, int(self.rows[position]))

    def where(self, position: int) -> str:
        """Such as "Record 3, line 40 of train.json"."""
        return self.entry(position).where

    @property
    def characters(self) -> NDArray[np.int32]:
        """How many characters all turns have [positions]."""
        column: NDArray[np.int32] = self._data.column("characters").to_numpy()
        return column[self.rows]

    @property
    def pictures(self) -> NDArray[np.int16]:
        """How many pictures there are [positions]."""
        chunks = self._data.column("pictures").chunks
        counts = [chunk.value_lengths().to_numpy(zero_copy_only=False) for chunk in chunks]
        return np.concatenate(counts).astype(np.int16)[self.rows]

    @property
    def faulty(self) -> NDArray[np.bool_]:
        """Whether the record itself is bad [positions]; its pictures are not looked for."""
        found: NDArray[np.bool_] = pc.is_valid(self._data.column("problem")).to_numpy()
        return found[self.rows]

    def distinct_pictures(self, positions: NDArray[np.int64]) -> list[PictureFile]:
        """Each picture of the records at these positions once, in the order of their rows."""
        rows = np.unique(self.rows[positions])
        pictures = self._data.column("pictures").take(rows).combine_chunks().flatten()
        fields = (pictures.field(name).to_pylist() for name in ("path", "name", "offset", "size"))
        return [read_picture(*picture) for picture in dict.fromkeys(zip(*fields, strict=True))]

    @property
    def unread(self) -> dict[str, int]:
        """Keys of the samples that nothing is done with, and how many distinct records have each.

        The most frequent come first.
        """
        names = pc.list_flatten(self._data.column("unread"))
        counts = sorted((pair.as_py() for pair in names.value_counts()), key=lambda p: -p["counts"])
        return {pair["values"]: pair["counts"] for pair in counts}

    def distinct(self) -> "RecordTable":
        """The same records, each once."""
        return self.of(np.arange(len(self._data)))

    def of(self, rows: NDArray[np.int64]) -> "RecordTable":
        """A table of some of the distinct records."""
        return RecordTable(self._data, self.parts, rows, self.fingerprint)


def default_cache() -> Path:
    """Where tables are kept unless a folder is named."""
    return cache_folder() / "records"


def open_table(sources: Sequence[RecordSource], cache: Path, seed: int) -> RecordTable:
    """The records of all sources, in order; the seed draws the part of a fractional weight.

    Files are read if `cache` does not hold them as they are now. Raises RecordError for a file
    that cannot be read or whose list breaks, and if the weights leave nothing. A bad record
    raises an error once it is asked for.
    """
    data: list[pa.Table] = []
    parts: list[TablePart] = []
    rows: list[NDArray[np.int64]] = []
    digest = hashlib.sha256()
    start = 0
    for number, source in enumerate(sources):
        folder = _built(source, cache)
        data.append(map_rows(folder / ROWS))
        parts.append(TablePart(folder, start, start + len(data[-1])))
        drawn = _weighted(len(data[-1]), source.weight, (seed, number))
        digest.update(_content(folder).encode() + drawn.tobytes())
        rows.append(start + drawn)
        start = parts[-1].stop
    if not sum(map(len, rows)):
        raise RecordError(
            f"A weight of {sources[0].weight:g} leaves no record of {sources[0].records[0]}; "
            "give a larger weight."
        )
    return RecordTable(pa.concat_tables(data), parts, np.concatenate(rows), digest.hexdigest())


def _reopened(parts: Sequence[TablePart], rows: NDArray[np.int64], fingerprint: str) -> RecordTable:
    data = pa.concat_tables([map_rows(part.folder / ROWS) for part in parts])
    return RecordTable(data, parts, rows, fingerprint)


def _weighted(rows: int, weight: float, seed: Sequence[int]) -> NDArray[np.int64]:
    """Every row as often as the weight's whole part says, and a random part of them once more."""
    whole, part = divmod(weight, 1)
    random = np.random.default_rng(seed)
    drawn = np.sort(random.choice(rows, round(rows * part), replace=False))
    return np.concatenate([np.tile(np.arange(rows), int(whole)), drawn]).astype(np.int64)


def _built(source: RecordSource, cache: Path) -> Path:
    """The folder of a source's rows, which is made if it is missing."""
    folder = cache.absolute() / _state(source)
    if not (folder / ABOUT).exists():
        _log.info("Reading the records of %s", source.records[0])
        _build(source, folder)
    return folder


def _content(folder: Path) -> str:
    """The hash of all of a source's samples."""
    return str(json.loads((folder / ABOUT).read_text(encoding="utf-8"))["content"])


def _build(source: RecordSource, folder: Path) -> None:
    """Write a source's folder under another name first; a faster process's folder is kept."""
    partial = _partial(folder.parent)
    content = hashlib.sha256()
    try:
        write_entries(partial / ROWS, _hashed(source, content), folder / PACKED)
        (partial / ABOUT).write_text(json.dumps({"content": content.hexdigest()}), encoding="utf-8")
        open_to_others(partial)
        if not (folder / ABOUT).exists():
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
    except OSError:
        if not (folder / ABOUT).exists():
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _hashed(source: RecordSource, content: "hashlib._Hash") -> Iterator[Entry]:
    """The source's entries, whose texts go into the hash one by one."""
    for entry, text in read_entries(source):
        content.update(hashlib.sha256(text.encode()).digest())
        yield entry


def _partial(cache: Path) -> Path:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return Path(mkdtemp(dir=cache, prefix="partial-"))
    except OSError as error:
        raise RecordError(
            f"The folder {cache}, where records are kept, cannot be written to ({error.strerror}); "
            "name another by the variable XDG_CACHE_HOME."
        ) from error


def _state(source: RecordSource) -> str:
    """Names what is read and how it is on disk; if a file changes, so does the name."""
    seen: list[object] = [VERSION, str(source.images), str(Path.cwd()), source.limit]
    for file in (*source.files, *picture_shards(source.images)):
        found = os.stat(file) if file.exists() else None  # reading says that it is missing
        seen.append((str(file), found and (found.st_size, found.st_mtime_ns)))
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:32]
