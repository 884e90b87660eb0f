"""Text that ends before the first stop string, given out as soon as it is certain."""

from collections.abc import Sequence


class StopStrings:
    """Text in, text out; `found` says that a stop string is complete and nothing more comes.

    Text that may be the beginning of a stop string is held back. Where several could end the text,
    the one that begins first does.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(stop)
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """Take a piece of text; return what is certain to stand before any stop string."""
        if self.found:
            return ""
        text = self._held + text
        start = next((i for i in range(len(text)) if self._may_begin(text[i:])), len(text))
        self.found = text.startswith(self._stop, start)
        self._held = "" if self.found else text[start:]
        return text[:start]

    def flush(self) -> str:
        """Return what was held back: no more text comes."""
        places = [self._held.find(stop) for stop in self._stop if stop in self._held]
        self.found = self.found or bool(places)
        text = self._held[: min(places, default=len(self._held))]
        self._held = ""
        return text

    def _may_begin(self, text: str) -> bool:
        """Whether a stop string stands at the beginning of the text, as far as that goes."""
        return any(text.startswith(stop) or stop.startswith(text) for stop in self._stop)
