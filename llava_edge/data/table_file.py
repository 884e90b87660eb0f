"""The Arrow file of a table: a row for each record, written once and then mapped into memory."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from llava_edge.core.picture import TarMember
from llava_edge.core.prompt import WrittenMessage
from llava_edge.data.picture_folder import PictureFile
from llava_edge.data.record_types import BadRecord, LabelledBox, Record
from llava_edge.data.records import Entry
from llava_edge.data.shards import ShardWriter

PACKED = "pictures.tar"  # the pictures that samples hold themselves
VERSION = 3  # of the columns
BATCH = 1024  # rows that are held in memory while they are written
_TYPES = {
    "file": pa.string(),
    "number": pa.int32(),
    "line": pa.int32(),  # null in a shard
    "characters": pa.int32(),
    "pictures": pa.list_(
        # Null offset and size: a file of its own, not a member of a shard.
        pa.struct(
            {"path": pa.string(), "name": pa.string(), "offset": pa.int64(), "size": pa.int64()}
        )
    ),
    "problem": pa.string(),  # null in a good record, whose id is null in a bad one
    "sentence": pa.string(),
    "id": pa.string(),
    "turns": pa.list_(pa.string()),  # of user and assistant in turn
    # System words, and the turns that the loss does not count; null where there is neither.
    "beside": pa.struct({"system": pa.string(), "unlearned": pa.list_(pa.int32())}),
    "unread": pa.list_(pa.string()),
    "objects": pa.list_(pa.struct({"name": pa.string(), "box": pa.list_(pa.float64(), 4)})),
}
_SCHEMA = pa.schema(_TYPES)


def write_entries(path: Path, entries: Iterable[Entry], packed: Path) -> None:
    """Write a row for each entry, in order.

    The bytes of pictures that samples hold go into the shard `PACKED` beside the rows, which is to
    be found as `packed` later.
    """
    entries = iter(entries)
    with (
        pa.OSFile(str(path), "wb") as file,
        pa.ipc.new_file(file, _SCHEMA) as writer,
        ShardWriter(path.with_name(PACKED), packed) as shard,
    ):
        while batch := list(islice(entries, BATCH)):
            columns = zip(*(_row(entry, shard) for entry in batch), strict=True)
            arrays = [
                pa.array(column, kind)
                for column, kind in zip(columns, _TYPES.values(), strict=True)
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA))


def map_rows(path: Path) -> pa.Table:
    """The rows of a file, none of which is read until it is asked for."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def read_record(rows: pa.Table, row: int) -> Record:
    """The record of a row; raises RecordError if it is bad."""
    if _value(rows, row, "problem") is not None:
        return read_entry(rows, row).record
    return _record(rows, row, _pictures(rows, row))


def read_entry(rows: pa.Table, row: int) -> Entry:
    """The entry that a row was written for."""
    pictures = _pictures(rows, row)
    content: Record | BadRecord
    if (problem := _value(rows, row, "problem")) is not None:
        content = BadRecord(problem, _value(rows, row, "sentence"))
    else:
        content = _record(rows, row, pictures)
    file, number, line, characters = (
        _value(rows, row, name) for name in ("file", "number", "line", "characters")
    )
    unread = tuple(_value(rows, row, "unread"))
    return Entry(Path(file), number, line, content, pictures, characters, unread)


def read_picture(path: str, name: str | None, offset: int | None, size: int | None) -> PictureFile:
    """The picture that the fields of a row name."""
    if name is None or offset is None or size is None:
        return Path(path)
    return TarMember(Path(path), name, offset, size)


def _value(rows: pa.Table, row: int, name: str) -> Any:
    return rows.column(name)[row].as_py()


def _pictures(rows: pa.Table, row: int) -> tuple[PictureFile, ...]:
    return tuple(read_picture(**picture) for picture in _value(rows, row, "pictures"))


def _record(rows: pa.Table, row: int, pictures: tuple[PictureFile, ...]) -> Record:
    roles: Iterator[Literal["user", "assistant"]] = cycle(("user", "assistant"))
    messages = list(map(WrittenMessage, roles, _value(rows, row, "turns")))
    if beside := _value(rows, row, "beside"):
        for number in beside["unlearned"]:
            messages[number] = replace(messages[number], learned=False)
        if beside["system"] is not None:
            messages.insert(0, WrittenMessage("system", beside["system"]))
    objects = (
        LabelledBox(item["name"], tuple(item["box"])) for item in _value(rows, row, "objects")
    )
    return Record(_value(rows, row, "id"), pictures, tuple(messages), tuple(objects))


def _row(entry: Entry, shard: ShardWriter) -> tuple[object, ...]:
    """The values of an entry, in the order of the columns."""
    place = (str(entry.file), entry.number, entry.line)
    pictures = [_picture(picture, shard) for picture in entry.pictures]
    content, unread = entry.content, list(entry.unread)
    if isinstance(content, BadRecord):
        bad = (content.problem, content.sentence, None, None, None)
        return (*place, entry.characters, pictures, *bad, unread, None)
    turns = [message for message in content.messages if message.role != "system"]
    words = [message.text for message in turns]
    objects = [{"name": item.name, "box": item.box} for item in content.objects]
    good = (None, None, content.id, words, _beside(content.messages, turns))
    return (*place, entry.characters, pictures, *good, unread, objects)


def _beside(
    messages: Sequence[WrittenMessage], turns: Sequence[WrittenMessage]
) -> dict[str, object] | None:
    system = messages[0].text if len(turns) < len(messages) else None
    unlearned = [number for number, message in enumerate(turns) if not message.learned]
    return {"system": system, "unlearned": unlearned} if unlearned or system is not None else None


def _picture(picture: PictureFile, shard: ShardWriter) -> dict[str, object]:
    if isinstance(picture, bytes):
        picture = shard.add(picture)
    if isinstance(picture, Path):
        return {"path": str(picture)}
    return vars(picture) | {"path": str(picture.path)}
