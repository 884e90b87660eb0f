"""Samples in the rows of a parquet file, or of an Arrow file as `datasets` saves it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from llava_edge.core.extras import needed_by
from llava_edge.errors import RecordError

BATCH = 64  # rows that are held in memory at once, with their pictures
_ENDINGS = (".parquet", ".arrow")


@dataclass(frozen=True)
class Row:
    """A row as a sample, and a text that tells it from any other."""

    text: str
    value: dict[str, Any]


def is_table(file: Path) -> bool:
    """Whether a file's name says that it is parquet or Arrow."""
    return file.suffix in _ENDINGS


def read_rows(file: Path) -> Iterator[Row]:
    """The rows of a table, in order; raises RecordError for a file that cannot be read."""
    with needed_by("a table of records", "train"):
        import pyarrow as pa
    try:
        for batch in _batches(file):
            for row in batch.to_pylist():
                yield Row(json.dumps(row, default=_named), row)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise RecordError(
            f"The records {file} cannot be read ({error}); a parquet file, or an Arrow file that "
            "datasets saved, is expected."
        ) from error


def _batches(file: Path) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import parquet

    if file.suffix == ".parquet":
        yield from parquet.ParquetFile(file).iter_batches(BATCH)
        return
    with pa.memory_map(str(file)) as mapped:
        for batch in pa.ipc.open_stream(mapped):
            for start in range(0, len(batch), BATCH):
                yield batch.slice(start, BATCH)


def _named(value: object) -> str:
    """What stands in a row's text for a value that JSON has not: of bytes their sha256."""
    return sha256(value).hexdigest() if isinstance(value, bytes) else repr(value)
