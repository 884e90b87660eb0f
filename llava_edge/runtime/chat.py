"""Chat: a conversation whose KV cache is continued, so that only what is new is prefilled."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from llava_edge.core.machine import release_unused
from llava_edge.core.prompt import Message
from llava_edge.runtime.answer import Pieces, PromptInMaking
from llava_edge.runtime.arguments import checked_path
from llava_edge.runtime.asked import asked_messages, asked_question
from llava_edge.runtime.interrupt import Interrupt
from llava_edge.runtime.lifetime import Lifetime
from llava_edge.runtime.loaded_bundle import LoadedBundle
from llava_edge.runtime.options import DEFAULTS, Options, checked_options
from llava_edge.runtime.prefix_cache import Item, PrefixCache
from llava_edge.runtime.saved_chat import SavedChat, read_chat, write_chat
from llava_edge.runtime.stream import Stream
from llava_edge.runtime.turn import Images, Turn


class Chat:
    """A conversation with a model, which `Llava.chat` begins; each turn may bring pictures.

        with model.chat() as chat:
            chat.answer("What is this?", image="photo.jpg")
            chat.answer("And what colour is it?")

    Each conversation has a KV cache of its own, so several may go on beside each other; the turns
    of one are answered one after another. `system` are the words before the first turn, None where
    the prompt format's own stand there. `forgotten` counts the oldest turns that were left out
    because the context was full, where the options say `when_full="shift"`.
    """

    def __init__(self, bundle: LoadedBundle, system: str | None = None) -> None:
        self._bundle = bundle
        self._lifetime = Lifetime(
            "The conversation was closed; begin another one.", bundle.lifetime
        )
        bundle.lifetime.add(self)
        self.system = system
        if system is not None:
            asked_messages(Message("user", ""), system, bundle.config.prompt)
        self._turns: list[Turn] = []
        self._cache: PrefixCache | None = None
        self.forgotten = 0

    def __enter__(self) -> "Chat":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the memory of the KV cache back, from any thread; ends a running answer first.

        What was said stays in `messages`; other calls raise UsageError from then on.
        """
        if self._lifetime.close():
            if self._cache is not None:
                self._cache.kv_cache.release()
            self._cache = None
            release_unused()

    @property
    def messages(self) -> list[Message]:
        """What was said so far, as `Llava.stream` takes it, the pictures encoded."""
        found = [] if self.system is None else [Message("system", self.system)]
        for turn in self._turns:
            answer = turn.answer
            words = answer if isinstance(answer, str) else self._bundle.tokenizer.said(answer)
            found += [turn.question, Message("assistant", words)]
        return found

    def stream(
        self, prompt: str | Message, /, image: Images = None, options: Options = DEFAULTS
    ) -> Stream:
        """Answer the next turn piece by piece; takes and raises what Llava.stream does.

        When the iteration is given up, what was said so far stays in the conversation; before the
        first word, or where an error is raised, the turn leaves no trace. Raises UsageError, in
        the iteration, where another turn was begun meanwhile.
        """
        question = asked_question(prompt, image, self._bundle.config.prompt)
        interrupt = Interrupt(checked_options(options).timeout)
        return Stream(self._pieces(question, options, interrupt), interrupt, self._lifetime)

    def answer(
        self, prompt: str | Message, /, image: Images = None, options: Options = DEFAULTS
    ) -> str:
        """Answer the next turn as a whole: the joined pieces of `stream`, which takes the same."""
        return self.stream(prompt, image, options).text()

    def reset(self) -> None:
        """Begin anew, with the same system words and without the turns so far."""
        self._turns = []

    def save(self, path: Path | str) -> None:
        """Write the conversation with its KV cache to a file, for Llava.load_chat.

        Raises StateError where the file cannot be written.
        """
        path = checked_path("path", path)
        numbers = self._lifetime.run(
            lambda _: self._bundle.decoder.numbers(self._own_cache().kv_cache)
        )
        write_chat(path, self._bundle.fingerprint, SavedChat(self.system, self._turns, numbers))

    def restore(self, path: Path | str) -> None:
        """Go on with the conversation that `save` wrote, in place of this one.

        Raises StateError where the file is damaged, of another bundle, or longer than the context.
        """
        path = checked_path("path", path)
        self._lifetime.run(lambda _: self._restore(path))

    def _restore(self, path: Path) -> None:
        cache = self._own_cache()
        saved = read_chat(path, self._bundle.fingerprint, cache.kv_cache.shape)
        self.system, self._turns = saved.system, saved.turns
        cache.restore(self._bundle.items(saved.turns, saved.system), saved.cache)

    def _pieces(self, question: Message, options: Options, interrupt: Interrupt) -> Pieces:
        answer = self._bundle.answer(options, interrupt)
        turns: list[Turn] = []
        begun: list[int] = []

        def make_prompt() -> PromptInMaking:
            [seen] = yield from self._bundle.see([question], options, interrupt)
            turns[:] = [*self._turns, Turn(seen)]
            items = self._bundle.items(turns, self.system)
            while (
                len(turns) > 1 and options.when_full == "shift" and self._is_tight(items, options)
            ):
                del turns[0]
                items = self._bundle.items(turns, self.system)
            self._bundle.check_fit(items)
            turns[-1] = Turn(seen, answer.ids)
            begun.append(self._own_cache().begin())
            return items

        @contextmanager
        def lend(_: list[Item]) -> Iterator[PrefixCache]:
            self._own_cache().check(begun[0])
            yield self._own_cache()

        def forget() -> list[Item] | None:
            if options.when_full == "error" or len(turns) == 1:
                return None
            del turns[0]
            self.forgotten += 1
            return self._bundle.items([*turns[:-1], Turn(turns[-1].question)], self.system)

        for piece in answer.pieces(make_prompt, lend, forget):
            if self._turns is not turns and (answer.ids or piece.finish == "stop"):
                self.forgotten += len(self._turns) + 1 - len(turns)
                self._turns = turns
            yield piece

    def _is_tight(self, items: Sequence[Item], options: Options) -> bool:
        """Whether less than a quarter of the context, or than what is asked for, is left."""
        size = self._bundle.decoder.context
        return len(items) + min(options.max_tokens, size // 4) > size

    def _own_cache(self) -> PrefixCache:
        self._cache = self._cache or PrefixCache(self._bundle.decoder)
        return self._cache
