"""The ids of answers, found again by their words."""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

from llava_edge.core.tokenizer import Tokenizer

ANSWERS = 1024  # that are remembered, those not asked for longest go first


class SaidAnswers:
    """What a model has said, word for word.

    A conversation that comes back as words is read with the ids that the model chose, which the
    tokenizer might not choose for the same words; so the KV cache fits.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._lock = Lock()
        self._ids: OrderedDict[str, tuple[int, ...]] = OrderedDict()

    def remember(self, ids: Sequence[int]) -> None:
        """Take an answer's ids."""
        words = self._tokenizer.said(ids)
        with self._lock:
            self._ids[words] = tuple(ids)
            self._ids.move_to_end(words)
            if len(self._ids) > ANSWERS:
                self._ids.popitem(last=False)

    def ids(self, words: str) -> list[int] | None:
        """The ids of an answer with these words, the one that was given last."""
        with self._lock:
            found = self._ids.get(words)
            if found is not None:
                self._ids.move_to_end(words)
        return None if found is None else list(found)
