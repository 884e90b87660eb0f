"""Turn: what a user asked in a conversation, and what was answered."""

from dataclasses import dataclass, field

from llava_edge.vision import ImageEmbeddings


@dataclass(frozen=True)
class Turn:
    """The words, with `<image>` where a picture stands, the pictures, and the answer's ids."""

    prompt: str
    pictures: tuple[ImageEmbeddings, ...]
    answer: list[int] = field(default_factory=list)
