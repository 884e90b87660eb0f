"""ImageEmbeddings: a picture as the language model sees it."""

from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np

from llava_edge.core.array_types import Floats
from llava_edge.errors import UsageError
from llava_edge.runtime.token_reduction import diverse


@dataclass(frozen=True, eq=False)
class ImageEmbeddings:
    """A picture as the language model sees it, as `encode_image` returns it.

    It may be given as the `image` of several prompts. Equal where the rows are, and then of the
    same hash.

    - rows: float32 [T, D], a row for each image token, as wide as the language model.

    Raises UsageError where rows are anything else.
    """

    rows: Floats
    key: bytes = field(init=False, repr=False)
    _reduced: dict[int, "ImageEmbeddings"] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        rows = self.rows
        if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.dtype != np.float32:
            raise UsageError("Image embeddings are rows of numbers; give float32 [T, D].")
        digest = sha256(np.ascontiguousarray(self.rows).data).digest()
        object.__setattr__(self, "key", digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImageEmbeddings) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def reduced(self, count: int) -> "ImageEmbeddings":
        """The `count` of its rows that differ most from one another, in their order.

        Raises UsageError where it has fewer.
        """
        if count == len(self.rows):
            return self
        if count not in self._reduced:
            rows = frozen(self.rows[diverse(self.rows, count)])
            self._reduced[count] = ImageEmbeddings(rows)
        return self._reduced[count]


def frozen(rows: Floats) -> Floats:
    """The same rows, which cannot be changed."""
    rows.flags.writeable = False  # shared by all who ask
    return rows
