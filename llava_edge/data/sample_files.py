"""The samples of a file of any kind: JSON, JSONL (gzip too), .tar shards, parquet and Arrow."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_edge.core.picture import TarMember
from llava_edge.data.json_stream import decode, read_json_texts
from llava_edge.data.shards import expand, read_shard_samples
from llava_edge.data.table_samples import is_table, read_rows
from llava_edge.errors import RecordError

STATE, SPLITS = "state.json", "dataset_dict.json"  # of what datasets' save_to_disk writes
_SPLIT = re.compile(r"(.+)-\d{5}-of-\d{5}(?:-\w+)?")  # as the hub names the files of a split
_KINDS = ("*.parquet", "*.jsonl", "*.json", "*.jsonl.gz", "*.json.gz", "*.tar")


@dataclass(frozen=True)
class FileSample:
    """A sample's text, the line (from 1) on which it begins, its value, and a shard's pictures."""

    text: str
    line: int | None  # None in a shard or a table
    value: Any  # a NotJson where its text is broken
    pictures: Sequence[TarMember] = ()


def read_samples(file: Path) -> Iterator[FileSample]:
    """The samples of a file, in order; raises RecordError for a file that cannot be read."""
    if file.suffix == ".tar":
        for found in read_shard_samples(file):
            yield FileSample(found.text, None, decode(found.text), found.pictures)
    elif is_table(file):
        for row in read_rows(file):
            yield FileSample(row.text, None, row.value)
    else:
        for text in read_json_texts(file):
            yield FileSample(text.text, text.line, text.value)


def files_of(pattern: Path) -> list[Path]:
    """The files of a pattern or a folder, sorted; else the path itself.

    A folder is what datasets' save_to_disk wrote, or one that holds files of records. Raises
    RecordError for any other folder.
    """
    if not pattern.is_dir():
        return expand(pattern)
    if (pattern / STATE).exists():
        return _saved(pattern)
    if (pattern / SPLITS).exists():
        splits = _json(pattern / SPLITS).get("splits")
        listed = ", ".join(map(str, splits)) if isinstance(splits, list) else "of a dataset"
        raise RecordError(
            f"The folder {pattern} holds the splits {listed}; name the folder of one."
        )
    for kind in _KINDS:
        if found := sorted(pattern.rglob(kind)):
            _check_one_split(pattern, found)
            return found
    raise RecordError(
        f"The folder {pattern} holds no records; name a folder with parquet, JSON or .tar files, "
        "or one that datasets' save_to_disk wrote."
    )


def _saved(folder: Path) -> list[Path]:
    state = _json(folder / STATE)
    if state.get("_indices_data_files"):
        raise RecordError(
            f"The folder {folder} was saved with a selection of its rows; save it again after "
            "flatten_indices()."
        )
    try:
        return [folder / file["filename"] for file in state["_data_files"]]
    except (KeyError, TypeError):
        raise RecordError(f"{folder / STATE} names no data files; save the folder again.") from None


def _check_one_split(folder: Path, files: Sequence[Path]) -> None:
    """Raise RecordError for files that the hub's datasets call by more than one split."""
    splits = {match[1]: file for file in files if (match := _SPLIT.fullmatch(file.stem))}
    if len(splits) > 1:
        raise RecordError(
            f"The folder {folder} holds the splits {', '.join(splits)}; name the files of one, "
            f"such as '{next(iter(splits.values())).parent}/{next(iter(splits))}-*'."
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read ({error}); save the folder again.") from error
    return values if isinstance(values, dict) else {}
