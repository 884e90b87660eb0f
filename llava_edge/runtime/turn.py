"""A turn of a conversation, and what a user may give for its pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from llava_edge.core.picture import PictureSource
from llava_edge.errors import UsageError
from llava_edge.runtime.vision_encoder import ImageEmbeddings

Image = PictureSource | ImageEmbeddings
Images = Image | Sequence[Image] | None

_EXPECTED = "give a path, bytes, a Pillow picture, or what encode_image returned"


@dataclass(frozen=True)
class Turn:
    """The words, with `<image>` where a picture stands, the pictures, and the answer's ids."""

    prompt: str
    pictures: tuple[ImageEmbeddings, ...]
    answer: list[int] = field(default_factory=list)


def images_of(image: Images) -> list[Image]:
    """The pictures that were given, as a list; raises UsageError for anything else."""
    if image is None:
        return []
    if isinstance(image, Image) or not isinstance(image, Sequence):
        return [checked_image(image)]
    return [checked_image(one) for one in image]


def checked_image(image: object) -> Image:
    """The same; raises UsageError where it is no picture."""
    if not isinstance(image, Image):
        raise UsageError(f"A picture of the type {type(image).__name__} was given; {_EXPECTED}.")
    return image
