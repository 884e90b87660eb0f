"""Records: LLaVA's JSON samples, each a conversation about pictures or about none."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from llava_edge.core.picture import TarMember
from llava_edge.core.prompt import IMAGE, Message
from llava_edge.data.json_stream import NotJson, decode, read_json_texts
from llava_edge.data.picture_folder import PictureFile, PictureFolder
from llava_edge.data.shards import expand, read_shard_samples
from llava_edge.errors import RecordError

ROLES: dict[str, Literal["user", "assistant"]] = {"human": "user", "gpt": "assistant"}
# What a JSON value of another form than a LLaVA sample raises where it is read as one.
_NO_SAMPLE = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)


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
        """The files that the records name; a pattern that no file matches is returned as it is."""
        return [file for pattern in self.records for file in expand(pattern)]


@dataclass(frozen=True)
class RecordSource(Data):
    """Records, and how many times an epoch sees each of them; with 0.5 it sees a half of them."""

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
class BadRecord:
    """Stands for a record that cannot be used: the kind of problem, and what to say of it."""

    problem: str
    sentence: str  # goes on after where the record stands: "is not JSON; ..."


@dataclass(frozen=True)
class Entry:
    """What a file holds at one place: a record, good or bad.

    Pictures and characters of a bad record are counted too, as far as they can be read.
    """

    file: Path
    number: int  # from 1, in the file
    line: int | None  # from 1; None in a shard
    content: Record | BadRecord
    pictures: tuple[PictureFile, ...]
    characters: int  # of all turns

    @property
    def where(self) -> str:
        """Such as "Record 3, line 40 of train.json"."""
        line = "" if self.line is None else f", line {self.line}"
        return f"Record {self.number}{line} of {self.file}"

    @property
    def record(self) -> Record:
        """The record; raises RecordError if it is bad. Its pictures are not looked for."""
        if isinstance(self.content, BadRecord):
            raise RecordError(f"{self.where} {self.content.sentence}", self.content.problem)
        return self.content


def load_records(data: Data) -> list[Record]:
    """Read the records of `data`, in order; raises RecordError for the first one that is bad."""
    records = []
    for entry, _ in read_entries(data):
        require_pictures(entry.record, entry.where)
        records.append(entry.record)
    return records


def read_entries(data: Data) -> Iterator[tuple[Entry, str]]:
    """Stream what the files of `data` hold, in order, each entry with its JSON text.

    Raises RecordError for a file that cannot be read, and if there are no records at all.
    """
    found = False
    for entry in islice(_all_entries(data), data.limit):
        found = True
        yield entry
    if not found:
        raise RecordError(f"{data.records[0]} holds no records; at least one is needed.")


def require_pictures(record: Record, where: str) -> None:
    """Raise RecordError for a picture that is not there."""
    for picture in record.images:
        if isinstance(picture, Path) and not picture.is_file():
            raise RecordError(
                f"{where} names the picture {picture}, which is missing; "
                "add it or drop the record.",
                "missing picture",
            )


def _all_entries(data: Data) -> Iterator[tuple[Entry, str]]:
    folder = PictureFolder(data.images)
    for file in data.files:
        for number, (text, line, sample, own) in enumerate(_samples(file), 1):
            content = _content(sample, folder, own)
            if isinstance(content, BadRecord):
                counted = _counted(sample, folder, own)
            else:
                counted = content.images, sum(len(message.text) for message in content.messages)
            yield Entry(file, number, line, content, *counted), text


def _samples(file: Path) -> Iterator[tuple[str, int | None, Any, Sequence[TarMember]]]:
    """Each sample's text, line and decoded value, and the pictures that a shard holds for it."""
    if file.suffix == ".tar":
        for sample in read_shard_samples(file):
            yield sample.text, None, decode(sample.text), sample.pictures
    else:
        for found in read_json_texts(file):
            yield found.text, found.line, found.value, ()


def _content(sample: Any, folder: PictureFolder, own: Sequence[TarMember]) -> Record | BadRecord:
    """A sample's record, with the pictures that are its own or those that it names."""
    if isinstance(sample, NotJson):
        return BadRecord("not JSON", f"is not JSON ({sample.reason}); mend it or drop it.")
    try:
        names = _names(sample)
        messages = tuple(_message(turn) for turn in sample["conversations"])
        boxes = tuple(_labelled_box(item) for item in sample.get("objects", ()))
        id = _words(str(sample["id"]))
    except _NO_SAMPLE as error:
        return BadRecord(
            "not a LLaVA sample",
            f"is not a LLaVA sample ({error!r}); it needs an id and conversations of human and gpt "
            "turns with a value each.",
        )
    record = Record(id, tuple(own or map(folder.find, names)), messages, boxes)
    return _problem_of_turns(record) or record


def _counted(
    sample: Any, folder: PictureFolder, own: Sequence[TarMember]
) -> tuple[tuple[PictureFile, ...], int]:
    """A bad sample's pictures and characters, or none where they cannot be read."""
    try:
        characters = sum(len(turn["value"]) for turn in sample["conversations"])
        names = _names(sample)
    except _NO_SAMPLE:
        return (), 0
    return tuple(own or map(folder.find, names)), characters


def _names(sample: dict[str, Any]) -> list[str]:
    """The names of a sample's pictures, of which it may have none, one or several."""
    named = sample.get("image") or []
    names = named if isinstance(named, list) else [named]
    if not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"image is {named!r}, not a name or a list of names")
    return [_words(name) for name in names]


def _message(turn: dict[str, str]) -> Message:
    role, text = ROLES[turn["from"]], turn["value"]
    if role == "assistant" and IMAGE in text:
        raise ValueError(f"gpt says {IMAGE}, which only human may")
    return Message(role, _words(text))


def _labelled_box(item: dict[str, Any]) -> LabelledBox:
    left, top, right, bottom = map(float, item["box"])
    return LabelledBox(_words(str(item["name"])), (left, top, right, bottom))


def _words(text: str) -> str:
    """The text; raises ValueError for half a surrogate pair, which UTF-8 cannot hold."""
    if not text.isascii():
        text.encode()
    return text


def _problem_of_turns(record: Record) -> BadRecord | None:
    roles = [message.role for message in record.messages]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        return BadRecord(
            "turns out of order",
            "does not alternate between human and gpt, ending with gpt; mend its turns or drop it.",
        )
    places = sum(message.text.count(IMAGE) for message in record.messages)
    if places != len(record.images):
        return BadRecord(
            f"{IMAGE} count",
            f"names {len(record.images)} pictures and says {IMAGE} {places} times; every picture "
            "needs it once.",
        )
    return None
