"""Records: LLaVA's JSON samples, each a conversation about a picture or about none."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llava_edge.errors import RecordError
from llava_edge.prompt import IMAGE, Message

ROLES: dict[str, Literal["user", "assistant"]] = {"human": "user", "gpt": "assistant"}


@dataclass(frozen=True)
class Data:
    """Records (LLaVA JSON) and the folder that their pictures are relative to."""

    records: tuple[Path, ...]
    images: Path
    limit: int | None = None  # of records used, the first ones

    def __post_init__(self) -> None:
        if not self.records or (self.limit is not None and self.limit < 1):
            raise ValueError("records and limit must be 1 or more")


@dataclass(frozen=True)
class LabelledBox:
    """An object's name and its box (left, top, right, bottom) in 0..1 of the picture."""

    name: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Record:
    """One sample: turns that begin with the user and end with the assistant, and its picture."""

    id: str
    image: Path | None
    messages: tuple[Message, ...]
    objects: tuple[LabelledBox, ...] = ()  # for the warm start of the projector


def load_records(data: Data) -> list[Record]:
    """Read the records of `data`, in order; raises RecordError for the first one that is bad."""
    records: list[Record] = []
    for path in data.records:
        try:
            samples = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RecordError(
                f"The records {path} cannot be read ({error}); a JSON list of samples is expected."
            ) from error
        if not isinstance(samples, list):
            raise RecordError(f"The records {path} are no JSON list of samples; make them one.")
        records += [
            _record(sample, data.images, f"Record {index} of {path}")
            for index, sample in enumerate(samples)
        ]
    if not records:
        raise RecordError(f"{data.records[0]} holds no records; at least one is needed.")
    return records[: data.limit]


def _record(sample: dict[str, Any], images: Path, where: str) -> Record:
    try:
        messages = tuple(_message(turn) for turn in sample["conversations"])
        boxes = tuple(_labelled_box(item) for item in sample.get("objects", ()))
        record = Record(str(sample["id"]), _image(sample, images), messages, boxes)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RecordError(
            f"{where} is not a LLaVA sample ({error!r}); it needs an id and conversations of "
            "human and gpt turns with a value each."
        ) from error
    _check(record, where)
    return record


def _message(turn: dict[str, str]) -> Message:
    role: Literal["user", "assistant"] = ROLES[turn["from"]]
    if role == "assistant" and IMAGE in turn["value"]:
        raise ValueError(f"gpt says {IMAGE}")
    return Message(role, turn["value"] + "")  # words, or a TypeError


def _labelled_box(item: dict[str, Any]) -> LabelledBox:
    left, top, right, bottom = map(float, item["box"])
    return LabelledBox(str(item["name"]), (left, top, right, bottom))


def _image(sample: dict[str, Any], images: Path) -> Path | None:
    return images / sample["image"] if sample.get("image") else None


def _check(record: Record, where: str) -> None:
    roles = [message.role for message in record.messages]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        raise RecordError(
            f"{where} does not alternate between human and gpt, ending with gpt; "
            "mend its turns or drop it."
        )
    places = sum(message.text.count(IMAGE) for message in record.messages)
    if places != (record.image is not None):
        raise RecordError(
            f"{where} has {'a' if record.image else 'no'} picture and {IMAGE} {places} times; "
            "one picture wants it once, none wants it never."
        )
    if record.image and not record.image.is_file():
        raise RecordError(
            f"{where} names the picture {record.image}, which is missing; "
            "add it or drop the record."
        )
