"""Records: LLaVA's JSON samples, each a conversation about a picture or about none."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_edge.errors import TrainingError
from llava_edge.prompt import IMAGE, Message
from llava_edge.train.recipe import Data

ROLES = {"human": "user", "gpt": "assistant"}


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
    objects: tuple[LabelledBox, ...] = ()  # ours, for the warm start of the projector


def load_records(data: Data) -> list[Record]:
    """Read the records of `data`, in order; raises TrainingError for the first one that is bad."""
    records: list[Record] = []
    for path in data.records:
        try:
            samples = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise TrainingError(
                f"The records {path} cannot be read ({error}); a JSON list of samples is expected."
            ) from error
        records += [
            _record(sample, data.images, f"Record {index} of {path}")
            for index, sample in enumerate(samples)
        ]
    if not records:
        raise TrainingError(f"{data.records[0]} holds no records; at least one is needed.")
    return records[: data.limit]


def _record(sample: dict[str, Any], images: Path, where: str) -> Record:
    try:
        messages = tuple(
            Message(ROLES[turn["from"]], turn["value"])  # type: ignore[arg-type]
            for turn in sample["conversations"]
        )
        boxes = tuple(LabelledBox(o["name"], tuple(o["box"])) for o in sample.get("objects", ()))
        record = Record(str(sample["id"]), _image(sample, images), messages, boxes)
    except (KeyError, TypeError) as error:
        raise TrainingError(
            f"{where} is not a LLaVA sample ({error!r}); it needs an id and conversations of "
            "human and gpt turns with a value each."
        ) from error
    _check(record, where)
    return record


def _image(sample: dict[str, Any], images: Path) -> Path | None:
    return images / sample["image"] if sample.get("image") else None


def _check(record: Record, where: str) -> None:
    if not record.messages or record.messages[-1].role != "assistant":
        raise TrainingError(f"{where} does not end with an answer of gpt; add one or drop it.")
    places = sum(message.text.count(IMAGE) for message in record.messages)
    if places != (record.image is not None):
        raise TrainingError(
            f"{where} has {'a' if record.image else 'no'} picture and {IMAGE} {places} times; "
            "one picture wants it once, none wants it never."
        )
    if record.image and not record.image.is_file():
        raise TrainingError(
            f"{where} names the picture {record.image}, which is missing; "
            "add it or drop the record."
        )
