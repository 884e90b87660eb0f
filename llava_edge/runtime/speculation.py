"""Speculator: guesses what followed the same words before, and has several ids read at once.

Known as prompt lookup: https://github.com/apoorvumang/prompt-lookup-decoding. The logits that come
out are the model's own for what was really answered, so guesses change how long an answer takes
and not what it says.
"""

from collections import deque
from collections.abc import Sequence

from llava_edge.core.array_types import Floats
from llava_edge.runtime.decoder import Top
from llava_edge.runtime.interrupt import Interrupt
from llava_edge.runtime.prefix_cache import Item, PrefixCache

LONGEST, SHORTEST = 4, 2  # items in a row that must have stood before
GUESSED = 5  # ids at once, at most; with the one that is sure, an even number of rows
TRIALS = 4  # guesses before they are judged
WORTH = 1.0  # right ids a guess: six rows took 1.8 times as long as one, on two cores


class Speculator:
    """Reads an answer's ids into a prefix cache, and with `guesses` what may follow them.

    Guessing ends by itself where too little of it comes true.
    """

    def __init__(self, cache: PrefixCache, interrupt: Interrupt, *, guesses: bool) -> None:
        self._cache = cache
        self._run = cache.run
        self._interrupt = interrupt
        self._seen = SeenItems(cache.items) if guesses else None
        self._ahead: deque[tuple[int, Floats]] = deque()  # guessed ids and the logits after them
        self._guesses = self._right = 0

    def after(self, id: int) -> Floats:
        """The logits [V] after one more id; raises UsageError where another prompt was begun."""
        self._cache.check(self._run)
        if self._seen is not None:
            self._seen.push(id)
        if self._ahead:
            guessed, logits = self._ahead.popleft()
            if guessed == id:
                self._right += 1
                self._cache.keep(id)
                return logits
            self._ahead.clear()
        guess = self._guess()
        logits = self._cache.read([id, *guess], self._interrupt)
        self._cache.forget(len(guess))
        self._ahead.extend(zip(guess, logits[1:], strict=True))
        after: Floats = logits[0]
        return after

    def top_after(self, id: int) -> Top:
        """The likeliest id after one more, chosen where the logits are; nothing is guessed."""
        self._cache.check(self._run)
        return self._cache.top(id, self._interrupt)

    def _guess(self) -> list[int]:
        if self._seen is None:
            return []
        if self._guesses >= TRIALS and self._right < WORTH * self._guesses:
            self._seen = None
            return []
        room = self._cache.size - len(self._cache.items) - 1
        guess = self._seen.follow(min(GUESSED, room))
        self._guesses += bool(guess)
        return guess


class SeenItems:
    """Where each few items in a row stood last."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items: list[Item] = []
        self._places: dict[tuple[Item, ...], int] = {}  # to what comes after them
        self._found: int | None = None  # what came after the last few items the time before
        for item in items:
            self.push(item)

    def push(self, item: Item) -> None:
        """Take one more item."""
        self._items.append(item)
        self._found = None
        for length in range(LONGEST, SHORTEST - 1, -1):
            if len(self._items) >= length:
                last = tuple(self._items[-length:])
                if self._found is None:
                    self._found = self._places.get(last)
                self._places[last] = len(self._items)

    def follow(self, count: int) -> list[int]:
        """The ids, `count` at most, that followed the last few items when they stood before."""
        if self._found is None:
            return []
        return [item for item in self._items[self._found :][:count] if isinstance(item, int)]
