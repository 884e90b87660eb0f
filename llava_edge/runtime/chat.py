"""Chat: a conversation whose KV cache is continued, so that only what is new is prefilled."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llava_edge.runtime.answer import Answer, Pieces
from llava_edge.runtime.interrupt import Interrupt
from llava_edge.runtime.options import DEFAULTS, Options
from llava_edge.runtime.prefix_cache import Item, PrefixCache
from llava_edge.runtime.saved_chat import Turn, read_chat, write_chat
from llava_edge.runtime.stream import Stream

if TYPE_CHECKING:
    from llava_edge.runtime.model import Images, Llava


class Chat:
    """A conversation with a model; each turn may bring pictures.

        chat = model.chat()
        chat.answer("What is this?", image="photo.jpg")
        chat.answer("And what colour is it?")

    Each conversation has a KV cache of its own, so several may go on beside each other.
    """

    def __init__(self, model: "Llava") -> None:
        self._model = model
        self._turns: list[Turn] = []
        self._context: PrefixCache | None = None
        self.forgotten = 0  # turns, where the context was full and `when_full` is "shift"

    def stream(self, prompt: str, image: "Images" = None, options: Options = DEFAULTS) -> Stream:
        """Answer the next turn piece by piece; takes and raises what Llava.stream does.

        When the iteration is given up, what was said so far stays in the conversation; before the
        first word, or where an error is raised, the turn leaves no trace.
        """
        model, start = self._model, time.perf_counter()
        interrupt = Interrupt(options.timeout)
        prompt, pictures = model.encode(prompt, image, options)
        turns = [*self._turns, Turn(prompt, pictures)]
        items = self._items(turns)
        while len(turns) > 1 and options.when_full == "shift" and self._is_tight(items, options):
            turns = turns[1:]
            items = self._items(turns)
        seconds = time.perf_counter() - start if pictures else 0.0
        answer = model.begin(items, options, encode_seconds=seconds)
        return Stream(self._pieces(turns, answer, options, interrupt), interrupt)

    def answer(self, prompt: str, image: "Images" = None, options: Options = DEFAULTS) -> str:
        """Answer the next turn: the joined pieces of `stream`."""
        return self.stream(prompt, image, options).text()

    def reset(self) -> None:
        """Begin anew, without the turns so far."""
        self._turns = []

    def save(self, path: Path | str) -> None:
        """Write the conversation with its KV cache to a file, for Llava.load_chat."""
        numbers = self._model.decoder.numbers(self._own_context().cache)
        write_chat(Path(path), self._model.fingerprint, self._turns, numbers)

    def restore(self, path: Path | str) -> None:
        """Go on with a saved conversation; raises StateError where that is not possible."""
        context = self._own_context()
        turns, numbers = read_chat(Path(path), self._model.fingerprint, context.cache.shape)
        self._turns = turns
        context.restore(self._items(turns), numbers)

    def _pieces(
        self, turns: list[Turn], answer: Answer, options: Options, interrupt: Interrupt
    ) -> Pieces:
        turns[-1] = Turn(turns[-1].prompt, turns[-1].pictures, answer.ids)

        def forget() -> list[Item] | None:
            if options.when_full == "error" or len(turns) == 1:
                return None
            del turns[0]
            self.forgotten += 1
            return self._items([*turns[:-1], Turn(turns[-1].prompt, turns[-1].pictures)])

        for piece in answer.pieces(self._own_context(), interrupt, forget):
            if self._turns is not turns and (answer.ids or piece.finish == "stop"):
                self.forgotten += len(self._turns) + 1 - len(turns)
                self._turns = turns
            yield piece

    def _items(self, turns: Sequence[Turn]) -> list[Item]:
        """A conversation as the model reads it."""
        items: list[Item] = []
        for turn in turns:
            items += self._model.items(turn.prompt, turn.pictures, first=not items)
            items += turn.answer if turn is turns[-1] else self._ended(turn.answer)
        return items

    def _ended(self, answer: list[int]) -> list[int]:
        """An answer's ids and its suffix, which the model may have begun to say."""
        suffix = [(self._model.config.prompt.assistant_suffix, True)]
        end = self._model.tokenizer.encode(suffix, after=answer[-1] if answer else None)
        said = (n for n in range(len(end), 0, -1) if answer[-n:] == end[:n])
        return [*answer, *end[next(said, 0) :]]

    def _is_tight(self, items: Sequence[Item], options: Options) -> bool:
        """Whether less than a quarter of the context, or than what is asked for, is left."""
        size = self._model.decoder.context
        return len(items) + min(options.max_tokens, size // 4) > size

    def _own_context(self) -> PrefixCache:
        self._context = self._context or PrefixCache(self._model.decoder)
        return self._context
