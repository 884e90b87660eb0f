"""What a record is, or why something in a file of records is none."""

from dataclasses import dataclass

from llava_edge.core.prompt import WrittenMessage
from llava_edge.data.picture_folder import PictureFile


@dataclass(frozen=True)
class LabelledBox:
    """An object's name and its box (left, top, right, bottom) in 0..1 of the picture."""

    name: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Record:
    """One sample and its pictures: its turns begin with the user and end with the assistant.

    System words, where there are any, stand before them.
    """

    id: str
    images: tuple[PictureFile, ...]  # in the order of their places in the turns
    messages: tuple[WrittenMessage, ...]
    objects: tuple[LabelledBox, ...] = ()  # for the warm start of the projector


@dataclass(frozen=True)
class BadRecord:
    """Stands for a record that cannot be used: the kind of problem, and what to say of it."""

    problem: str
    sentence: str  # goes on after where the record stands: "is not JSON; ..."
