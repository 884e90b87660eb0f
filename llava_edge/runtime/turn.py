"""A turn of a conversation, and what a user may give for its pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from llava_edge.core.picture_source import PictureSource, is_picture_source
from llava_edge.core.prompt import Message, Picture
from llava_edge.errors import UsageError
from llava_edge.runtime.image_embeddings import ImageEmbeddings

Image = PictureSource | ImageEmbeddings
Images = Image | Sequence[Image] | None

_EXPECTED = (
    "give a path, bytes, an open file, an array, a Pillow picture, or what encode_image returned"
)


@dataclass(frozen=True)
class Turn:
    """A question whose pictures are encoded, and the answer: its ids, or words that somebody gave.

    An answer that is being made grows in its list.
    """

    question: Message
    answer: list[int] | str = field(default_factory=list)

    @property
    def pictures(self) -> tuple[ImageEmbeddings, ...]:
        """The pictures, in their order."""
        found = (part.source for part in self.question.content if isinstance(part, Picture))
        return tuple(source for source in found if isinstance(source, ImageEmbeddings))


def images_of(image: Images) -> list[Image]:
    """The pictures that were given, as a list; raises UsageError for anything else."""
    if image is None:
        return []
    if _is_image(image) or not isinstance(image, Sequence):
        return [checked_image(image)]
    return [checked_image(one) for one in image]


def checked_image(image: object) -> Image:
    """The same; raises UsageError where it is no picture."""
    if not _is_image(image):
        raise UsageError(f"A picture of the type {type(image).__name__} was given; {_EXPECTED}.")
    return image


def _is_image(image: object) -> TypeGuard[Image]:
    return isinstance(image, ImageEmbeddings) or is_picture_source(image)
