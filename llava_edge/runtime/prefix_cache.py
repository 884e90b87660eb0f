"""What the language model has read so far, and how little of a new prompt it still has to read."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from threading import Lock

import numpy as np

from llava_edge.core.array_types import Floats
from llava_edge.core.machine import release_unused
from llava_edge.errors import LlavaEdgeError, UsageError
from llava_edge.runtime.decoder import Decoder, Top
from llava_edge.runtime.image_embeddings import ImageEmbeddings
from llava_edge.runtime.interrupt import Interrupt
from llava_edge.runtime.kv_cache import CacheNumbers

ImageRow = tuple[ImageEmbeddings, int]
Item = int | ImageRow  # a token: an id, or a row of a picture


class PrefixCache:
    """The items in a KV cache of its own; a prompt that begins with them is not prefilled again."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self.kv_cache = decoder.new_cache()
        self.run = 0  # counts prompts: tells an answer that another one has begun
        self.items: list[Item] = []
        self.logits = np.empty(0, dtype=np.float32)

    @property
    def size(self) -> int:
        """The most items that it holds."""
        return self._decoder.context

    def known(self, items: Sequence[Item]) -> int:
        """How many of a prompt's first items need not be read, since they have been.

        The last one is, for its logits.
        """
        return min(_common(self.items, items), max(len(items) - 1, 0))

    def prefill(self, items: Sequence[Item], interrupt: Interrupt | None = None) -> Iterator[int]:
        """Read what is new of a prompt, chunk by chunk -> how many items are read after each.

        In the end `logits` [V] are those after the last. Raises Interrupted; what was read until
        then is kept.
        """
        known = self.known(items)
        self.cut(known)
        run = self.begin()
        for start, end in _chunks(known, len(items), self._decoder.chunk):
            self.check(run)
            rows = self._rows(items[start:end])
            self.logits = self._decoder.read(self.kv_cache, rows, interrupt=interrupt)[0]
            self.items.extend(items[start:end])
            yield end

    def begin(self) -> int:
        """Another prompt is begun -> the number of its run."""
        self.run += 1
        return self.run

    def check(self, run: int) -> None:
        """Raise UsageError where another prompt has been begun since that run."""
        if run != self.run:
            raise UsageError(
                "Another turn of this conversation was begun before the answer ended; finish or "
                "close one first."
            )

    def read(self, ids: Sequence[int], interrupt: Interrupt | None = None) -> Floats:
        """Append ids that were answered or guessed -> the logits [len(ids), V] after each."""
        self.cut(len(self.items))
        if len(ids) == 1:
            logits = self._decoder.step(self.kv_cache, ids[0], interrupt)[None]
        else:
            rows, every = self._decoder.embed(ids), range(len(ids))
            logits = self._decoder.read(self.kv_cache, rows, every, interrupt)
        self.items.extend(ids)
        return logits

    def top(self, id: int, interrupt: Interrupt | None = None) -> Top:
        """Append an id that was answered -> the likeliest after it."""
        self.cut(len(self.items))
        top = self._decoder.top(self.kv_cache, id, interrupt)
        self.items.append(id)
        return top

    def forget(self, count: int) -> None:
        """Take back the last `count` ids, whose keys and values stay until others come."""
        del self.items[len(self.items) - count :]

    def keep(self, id: int) -> None:
        """Take an id that was forgotten, and just here, for read after all."""
        self.items.append(id)

    def cut(self, length: int) -> None:
        """Forget all but the first `length` items."""
        self.kv_cache.rewind(length)
        del self.items[length:]

    def restore(self, items: Sequence[Item], numbers: CacheNumbers) -> None:
        """Hold what was read of another cache: the first of these items."""
        self._decoder.restore(self.kv_cache, numbers)
        self.items = list(items[: self.kv_cache.length])

    def _rows(self, items: Sequence[Item]) -> Floats:
        """The rows [S, D] of ids and pictures, in their order."""
        parts = []
        for is_id, group in groupby(items, key=lambda item: isinstance(item, int)):
            if is_id:
                parts.append(self._decoder.embed([item for item in group if isinstance(item, int)]))
            else:
                parts += [item[0].rows[item[1]][None] for item in group if isinstance(item, tuple)]
        return np.concatenate(parts)


class PrefixCaches:
    """Lends caches to answers; kept and lent, there are up to `most`, unless more are lent."""

    def __init__(self, decoder: Decoder, most: int = 1) -> None:
        self.most = most
        self._decoder = decoder
        self._lock = Lock()
        self._kept: list[PrefixCache] = []  # the one that came back last stands last
        self._lent = 0

    @contextmanager
    def lend(self, items: Sequence[Item]) -> Iterator[PrefixCache]:
        """The kept cache that fits a prompt best, or a new one."""
        with self._lock:
            cache = self._take(items)
            self._lent += 1
        try:
            cache = cache or PrefixCache(self._decoder)
            yield cache
        finally:
            with self._lock:
                self._lent -= 1
                room = self.most - self._lent
                kept = self._kept if cache is None else [*self._kept, cache]
                self._kept = kept[-room:] if room > 0 else []

    def close(self) -> None:
        """Forget the kept ones, and keep none any more."""
        self.most = 0
        self.clear()

    def clear(self) -> None:
        """Forget the kept ones."""
        with self._lock:
            self._kept.clear()

    def trim(self) -> None:
        """Forget the kept ones, and give back all memory that only the next prompt would use."""
        self.clear()
        with suppress(LlavaEdgeError):  # closed meanwhile
            self._decoder.shrink()
        release_unused()

    def _take(self, items: Sequence[Item]) -> PrefixCache | None:
        """None where another conversation would have to be forgotten without need."""
        if not self._kept:
            return None
        best = max(self._kept, key=lambda cache: cache.known(items))
        if 2 * best.known(items) < len(best.items):  # a conversation of its own
            if len(self._kept) + self._lent < self.most:
                return None
            best = self._kept[0]
        self._kept.remove(best)
        return best


def _chunks(start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    for first in range(start, end, size):
        yield first, min(first + size, end)


def _common(old: Sequence[Item], new: Sequence[Item]) -> int:
    """The length of the common beginning."""
    pairs = zip(old, new, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(old), len(new)))
