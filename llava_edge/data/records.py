"""Records: LLaVA's JSON samples, each a conversation about pictures or about none."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from llava_edge.core.picture import TarMember
from llava_edge.core.prompt import IMAGE, Message
from llava_edge.data.json_stream import read_json_texts
from llava_edge.data.shards import expand, read_members, read_shard_samples
from llava_edge.errors import RecordError

ROLES: dict[str, Literal["user", "assistant"]] = {"human": "user", "gpt": "assistant"}

PictureFile = Path | TarMember


@dataclass(frozen=True)
class Data:
    """Records (LLaVA JSON, JSONL, .tar shards or globs) and where their pictures are.

    `images` is a folder, or a folder or glob of .tar shards that hold the pictures by name.
    """

    records: tuple[Path, ...]
    images: Path
    limit: int | None = None  # of records used, the first ones

    def __post_init__(self) -> None:
        if not self.records or (self.limit is not None and self.limit < 1):
            raise ValueError("records and limit must be 1 or more")

    @property
    def files(self) -> list[Path]:
        """The files that the records name; where a pattern finds none, the pattern itself."""
        return [file for pattern in self.records for file in expand(pattern)]


@dataclass(frozen=True)
class RecordSource(Data):
    """Records, and how many times an epoch sees each of them; 0.5 is a half of them."""

    weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight <= 0:
            raise ValueError(f"weight is {self.weight}, not above 0")


@dataclass(frozen=True)
class LabelledBox:
    """An object's name and its box (left, top, right, bottom) in 0..1 of the picture."""

    name: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Record:
    """One sample: turns that begin with the user and end with the assistant, and its pictures."""

    id: str
    images: tuple[PictureFile, ...]  # in the order of their places in the turns
    messages: tuple[Message, ...]
    objects: tuple[LabelledBox, ...] = ()  # for the warm start of the projector


@dataclass(frozen=True)
class Entry:
    """A record as its file has it, good or bad: its text, where it stands, and its pictures."""

    file: Path
    number: int  # from 1, in the file
    line: int | None  # from 1; None in a shard
    text: str
    pictures: tuple[PictureFile, ...]
    characters: int  # of all turns

    @property
    def where(self) -> str:
        """Such as "Record 3, line 40 of train.json"."""
        line = "" if self.line is None else f", line {self.line}"
        return f"Record {self.number}{line} of {self.file}"


def load_records(data: Data) -> list[Record]:
    """Read the records of `data`, in order; raises RecordError for the first one that is bad."""
    records = []
    for entry in read_entries(data):
        record = to_record(entry)
        require_pictures(record, entry.where)
        records.append(record)
    return records


def read_entries(data: Data) -> Iterator[Entry]:
    """Stream what the files of `data` hold, in order, without judging it.

    Raises RecordError for a file that cannot be read, and where there are no records at all.
    """
    found = False
    for entry in islice(_all_entries(data), data.limit):
        found = True
        yield entry
    if not found:
        raise RecordError(f"{data.records[0]} holds no records; at least one is needed.")


def to_record(entry: Entry) -> Record:
    """The record that an entry says; raises RecordError where it is no whole LLaVA sample."""
    try:
        sample = json.loads(entry.text)
    except (ValueError, RecursionError) as error:
        raise RecordError(
            f"{entry.where} is not JSON ({error}); mend it or drop it.", "not JSON"
        ) from error
    try:
        _names(sample)
        messages = tuple(_message(turn) for turn in sample["conversations"])
        boxes = tuple(_labelled_box(item) for item in sample.get("objects", ()))
        record = Record(str(sample["id"]), entry.pictures, messages, boxes)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RecordError(
            f"{entry.where} is not a LLaVA sample ({error!r}); it needs an id and "
            "conversations of human and gpt turns with a value each."
        ) from error
    _check_turns(record, entry.where)
    return record


def require_pictures(record: Record, where: str) -> None:
    """Raise RecordError for a picture that is not there."""
    for picture in record.images:
        if isinstance(picture, Path) and not picture.is_file():
            raise RecordError(
                f"{where} names the picture {picture}, which is missing; "
                "add it or drop the record.",
                "missing picture",
            )


def picture_shards(images: Path) -> list[Path]:
    """The .tar shards that hold the pictures; none where `images` is a folder of pictures."""
    if not images.is_dir():
        files = expand(images)
        return files if all(path.suffix == ".tar" for path in files) else []
    with os.scandir(images) as items:
        only_shards = all(item.name.endswith(".tar") for item in items)
    return sorted(images.iterdir()) if only_shards else []


class _Pictures:
    """Where the pictures that records name are: in a folder, or in shards once looked through."""

    def __init__(self, images: Path) -> None:
        self._images = images

    def find(self, name: str) -> PictureFile:
        """The picture; a path at which there is none where it is missing."""
        return self._members.get(name.removeprefix("./")) or self._images / name

    @cached_property
    def _members(self) -> dict[str, TarMember]:
        shards = picture_shards(self._images)
        return {member.name: member for shard in shards for member in read_members(shard)}


def _all_entries(data: Data) -> Iterator[Entry]:
    pictures = _Pictures(data.images)
    for path in data.files:
        if path.suffix == ".tar":
            for number, sample in enumerate(read_shard_samples(path), 1):
                yield _entry(path, number, None, sample.text, pictures, sample.pictures)
        else:
            for number, found in enumerate(read_json_texts(path), 1):
                yield _entry(path, number, found.line, found.text, pictures)


def _entry(
    file: Path,
    number: int,
    line: int | None,
    text: str,
    pictures: _Pictures,
    own: Sequence[TarMember] = (),
) -> Entry:
    """A bad sample has no pictures and no characters; it is `to_record` that says what is bad."""
    try:
        sample = json.loads(text)
        characters = sum(len(turn["value"]) for turn in sample["conversations"])
        found: Sequence[PictureFile] = own or [pictures.find(name) for name in _names(sample)]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return Entry(file, number, line, text, (), 0)
    return Entry(file, number, line, text, tuple(found), characters)


def _names(sample: dict[str, Any]) -> list[str]:
    """The names of a sample's pictures, of which it may have none, one or several."""
    named = sample.get("image") or []
    names = named if isinstance(named, list) else [named]
    if not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"its image is {named!r}")
    return names


def _message(turn: dict[str, str]) -> Message:
    role: Literal["user", "assistant"] = ROLES[turn["from"]]
    if role == "assistant" and IMAGE in turn["value"]:
        raise ValueError(f"gpt says {IMAGE}")
    turn["value"].encode()  # words, and no half of a surrogate pair
    return Message(role, turn["value"])


def _labelled_box(item: dict[str, Any]) -> LabelledBox:
    left, top, right, bottom = map(float, item["box"])
    return LabelledBox(str(item["name"]), (left, top, right, bottom))


def _check_turns(record: Record, where: str) -> None:
    roles = [message.role for message in record.messages]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        raise RecordError(
            f"{where} does not alternate between human and gpt, ending with gpt; "
            "mend its turns or drop it.",
            "turns out of order",
        )
    places = sum(message.text.count(IMAGE) for message in record.messages)
    if places != len(record.images):
        raise RecordError(
            f"{where} names {len(record.images)} pictures and says {IMAGE} {places} times; "
            "every picture wants it once.",
            f"{IMAGE} count",
        )
