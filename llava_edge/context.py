"""What the language model has read so far, and how little of a new prompt it still has to read."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from llava_edge.decoder import Decoder, Floats
from llava_edge.vision import ImageEmbeddings

ImageRow = tuple[ImageEmbeddings, int]
Item = int | ImageRow  # a token: an id, or a row of a picture


class Context:
    """The items in a decoder's KV cache; a prompt that begins with them is not prefilled again."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._items: list[Item] = []
        self.run = 0  # counts prompts: tells an answer that another one has begun

    @property
    def size(self) -> int:
        """The most items that it holds."""
        return self._decoder.context

    def clear(self) -> None:
        """Forget everything."""
        self.run += 1
        self._items = []

    def fill(self, items: Sequence[Item]) -> tuple[Floats, int]:
        """Hold just these items; return the logits [V] after the last, and how many were new."""
        self.run += 1
        known = min(_common(self._items, items), len(items) - 1)  # logits need one row at least
        self._items = self._items[:known]
        self._decoder.rewind(known)
        logits = self._decoder.prefill(self._rows(items[known:]))
        self._items.extend(items[known:])
        return logits, len(items) - known

    def push(self, id: int) -> Floats:
        """Append an id; return the logits [V] after it."""
        self._decoder.rewind(len(self._items))  # an interrupt may have come between the next two
        logits = self._decoder.step(id)
        self._items.append(id)
        return logits

    def _rows(self, items: Sequence[Item]) -> Floats:
        """The rows [S, D] of ids and pictures, in their order."""
        parts = []
        for is_id, group in groupby(items, key=lambda item: isinstance(item, int)):
            if is_id:
                parts.append(self._decoder.embed([item for item in group if isinstance(item, int)]))
            else:
                parts += [item[0].rows[item[1]][None] for item in group if isinstance(item, tuple)]
        return np.concatenate(parts)


def _common(old: Sequence[Item], new: Sequence[Item]) -> int:
    """The length of the common beginning."""
    pairs = zip(old, new, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(old), len(new)))
