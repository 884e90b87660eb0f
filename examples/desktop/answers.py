"""Answers in the background, for a window: signals say what is loaded, read and said."""

import time
from queue import SimpleQueue
from threading import Thread

from PySide6.QtCore import QObject, Signal

from llava_edge import LlavaEdgeError, Piece, Stream, load

REFRESH = 0.03  # seconds between two changes of the window, however fast the words come


class Answers(QObject):
    """Loads a bundle and answers, in a thread of its own; its signals arrive in the window's."""

    loaded = Signal(object, str)  # a conversation, and what runs it
    said = Signal(str, str)  # words, and how far the answer is
    ended = Signal(str)  # how the answer went

    def __init__(self, bundle: str | None) -> None:
        super().__init__()
        self._bundle = bundle
        self._streams: SimpleQueue[Stream | None] = SimpleQueue()
        self._thread = Thread(target=self._run, daemon=True)
        self.start, self.join = self._thread.start, self._thread.join
        self.begin = self._streams.put  # begin(None) ends it

    def _run(self) -> None:
        try:
            model = load(self._bundle)
            self.loaded.emit(model.chat(), f"{model.config.name} on {model.device.name}")
        except LlavaEdgeError as error:
            return self._fail(error)
        while (stream := self._streams.get()) is not None:
            try:
                self._iterate(stream)
            except LlavaEdgeError as error:
                self._fail(error)

    def _iterate(self, stream: Stream) -> None:
        words, shown = "", 0.0
        for piece in stream:
            words += piece.text
            if piece.finish or time.monotonic() > shown + REFRESH:
                self.said.emit(words, progress(piece))
                words, shown = "", time.monotonic()
        self.ended.emit(progress(piece))

    def _fail(self, error: LlavaEdgeError) -> None:
        self.said.emit(str(error), "")  # a sentence that says what to do
        self.ended.emit("")


def progress(piece: Piece) -> str:
    """How far an answer is."""
    timings = piece.timings
    if timings.generated_tokens == 0 and not piece.finish:
        read = timings.cached_tokens + timings.prefilled_tokens
        return f"{read:,} of {timings.prompt_tokens:,} tokens read"
    said = f"{timings.generated_tokens} tokens, {timings.tokens_per_second:.0f} a second"
    return said if piece.finish in (None, "stop") else f"{said} ({piece.finish})"
