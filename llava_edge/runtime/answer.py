"""Items in, pieces of text with their timings out: the one loop behind every answer."""

import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

from llava_edge.core.array_types import Floats
from llava_edge.core.tokenizer import TextStream, Tokenizer
from llava_edge.runtime.aside import aside
from llava_edge.runtime.constraint import Constraint, Grammars
from llava_edge.runtime.decoder import Top
from llava_edge.runtime.interrupt import Interrupt, Interrupted
from llava_edge.runtime.options import Options
from llava_edge.runtime.prefix_cache import Item, PrefixCache
from llava_edge.runtime.sampling import Sampler, TokenLogprob, finite, log_probabilities
from llava_edge.runtime.speculation import Speculator
from llava_edge.runtime.stop_strings import StopStrings

Finish = Literal["stop", "length", "context", "cancelled", "timeout"]
Stage = Literal["encoding", "reading", "answering"]


@dataclass(frozen=True)
class Timings:
    """What an answer took up to a piece of it.

    - pictures: that the prompt brings and that are encoded for it.
    - encoded_pictures: those of them that are encoded so far.
    - encode_seconds: for pictures: reading, decoding, preprocessing and the vision tower.
    - prefill_seconds: for reading the prompt.
    - ttft_seconds: from the beginning of the iteration to the first token.
    - prompt_tokens: of the prompt, with the conversation before it and the image tokens.
    - cached_tokens: those of them that the KV cache held already.
    - prefilled_tokens: those of them that have been read so far.
    - image_tokens: those of them that are a picture's.
    - generated_tokens: of the answer so far.
    - tokens_per_second: of the answer after its first token; 0 where there are no more.
    """

    pictures: int
    encoded_pictures: int
    encode_seconds: float
    prefill_seconds: float
    ttft_seconds: float
    prompt_tokens: int
    cached_tokens: int
    prefilled_tokens: int
    image_tokens: int
    generated_tokens: int
    tokens_per_second: float


@dataclass(frozen=True)
class Piece:
    """A piece of an answer; the texts of all pieces, joined, are the answer.

    - text: the words since the piece before. Before the first word, pieces without text tell how
      far that is.
    - timings: what the answer took so far; those of the last piece are final.
    - finish: in the last piece, why the answer ended: "stop" at a stop token, a stop string or the
      end of a form, "length" at max_tokens, "context" where that is full, "cancelled" by
      Stream.cancel, "timeout" at the deadline. None in the others.
    - logprobs: of the tokens since the piece before, where Options.logprobs asks for them.
    - stage: what is being done. "encoding": a picture, number `timings.encoded_pictures + 1` of
      `timings.pictures`; one piece before each. "reading": the prompt, of whose
      `timings.prompt_tokens` `cached_tokens + prefilled_tokens` are read; the first such piece
      comes when all pictures are encoded and the prompt is known to fit, before any of it is
      read. "answering": the words.
    """

    text: str
    timings: Timings
    finish: Finish | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    stage: Stage = "answering"


@dataclass(frozen=True)
class Encoded:
    """How many of a prompt's pictures are encoded."""

    pictures: int
    of: int


Pieces = Generator[Piece, None, None]
PromptInMaking = Generator[Encoded, None, list[Item]]  # yields before each picture


@dataclass(frozen=True)
class Vocabulary:
    """What ids mean: to the tokenizer, and to the model, which may know more of them."""

    tokenizer: Tokenizer
    size: int  # of the logits
    stop: frozenset[int]  # ids that end an answer
    stop_strings: tuple[str, ...] = ()  # words that do, written after it as a suffix


class _Clock:
    """Notes the moments of an answer and makes Timings of them."""

    def __init__(self) -> None:
        self._start = self._begun = self._prefilled = self._first = time.perf_counter()
        self._encode_seconds = 0.0
        self._encoded = Encoded(0, 0)
        self._prompt_tokens = self._image_tokens = 0
        self._cached_tokens = self._prefilled_tokens = 0

    def encoding(self, encoded: Encoded) -> None:
        self._encoded = encoded

    def begin(self, items: list[Item]) -> None:
        """The prompt is made, its pictures encoded."""
        self._encoded = Encoded(self._encoded.of, self._encoded.of)
        self._begun = self._prefilled = self._first = time.perf_counter()
        self._prompt_tokens = len(items)
        self._image_tokens = sum(isinstance(item, tuple) for item in items)
        self._encode_seconds = self._begun - self._start if self._image_tokens else 0.0

    def cached(self, tokens: int) -> None:
        self._cached_tokens = tokens

    def prefilled(self, tokens: int) -> None:
        self._prefilled_tokens = tokens - self._cached_tokens
        self._prefilled = self._first = time.perf_counter()

    def first(self) -> None:
        self._first = time.perf_counter()

    def timings(self, generated: int) -> Timings:
        decoding = time.perf_counter() - self._first
        return Timings(
            pictures=self._encoded.of,
            encoded_pictures=self._encoded.pictures,
            encode_seconds=self._encode_seconds,
            prefill_seconds=self._prefilled - self._begun,
            ttft_seconds=self._first - self._start,
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            prefilled_tokens=self._prefilled_tokens,
            image_tokens=self._image_tokens,
            generated_tokens=generated,
            tokens_per_second=(generated - 1) / decoding if generated > 1 else 0.0,
        )


class Answer:
    """One answer in the making: `ids` grows by what is answered, without the format's stop."""

    def __init__(
        self, options: Options, vocabulary: Vocabulary, grammars: Grammars, interrupt: Interrupt
    ) -> None:
        self.ids: list[int] = []
        self._prompt: list[Item] = []
        self._options = options
        self._vocabulary = vocabulary
        self._grammars = grammars
        self._interrupt = interrupt
        self._constraint: Constraint | None = None
        self._text = TextStream(vocabulary.tokenizer)
        self._stops = StopStrings((*options.stop, *vocabulary.stop_strings))
        self._logprobs: list[TokenLogprob] = []
        self._stage: Stage = "encoding"

    def pieces(
        self,
        make_prompt: Callable[[], PromptInMaking],
        lend: Callable[[list[Item]], AbstractContextManager[PrefixCache]],
        make_room: Callable[[], list[Item] | None] = lambda: None,
    ) -> Pieces:
        """Make the prompt, read it and answer it, until the answer ends or is interrupted.

        The first piece of the stage "reading" tells that the prompt can be answered, and comes
        before it is read. Where the context is full, `make_room` gives a shorter prompt to go on
        after, or None.
        """
        finish: Finish | None = None
        self._clock = _Clock()
        self._interrupt.begin()
        try:
            self._begin((yield from self._make(make_prompt())))
            self._stage = "reading"
            yield from self._told("")
            with lend(self._prompt) as cache:
                yield from self._read_prompt(cache)
                self._stage = "answering"
                finish = yield from self._say(cache, make_room)
        except Interrupted:
            finish = self._interrupt.reason
        finally:
            self._interrupt.close()
        rest = self._stops.push(self._text.flush()) + self._stops.flush()
        self._drop_stop_string()
        yield self._piece(rest, finish)

    def _make(self, prompt: PromptInMaking) -> Generator[Piece, None, list[Item]]:
        """Let a prompt be made, and tell of each of its pictures."""
        while True:
            try:
                self._clock.encoding(next(prompt))
            except StopIteration as made:
                items: list[Item] = made.value
                return items
            yield from self._told("")

    def _begin(self, prompt: list[Item]) -> None:
        self._prompt = prompt
        self._clock.begin(prompt)
        written = [item for item in prompt if isinstance(item, int)]
        self._sampler = Sampler(self._options, written, vocab_size=self._vocabulary.size)
        if self._options.constrained:
            self._constraint = aside(
                lambda _: Constraint(self._options, self._grammars), self._interrupt.check
            )

    def _read_prompt(self, cache: PrefixCache) -> Pieces:
        self._clock.cached(cache.known(self._prompt))
        for read in cache.prefill(self._prompt, self._interrupt):
            self._clock.prefilled(read)
            if read < len(self._prompt):
                yield from self._told("")

    def _say(
        self, cache: PrefixCache, make_room: Callable[[], list[Item] | None]
    ) -> Generator[Piece, None, Finish]:
        """Choose id after id."""
        after: Floats | Top = cache.logits
        reader = Speculator(cache, self._interrupt, guesses=self._options.speculate)
        greedy = self._is_greedy()
        while (id := self._choose(after)) not in self._vocabulary.stop:
            self.ids.append(id)
            if words := self._stops.push(self._text.push(id)):
                yield from self._told(words)
            if self._stops.found or (self._constraint is not None and self._constraint.ended):
                return "stop"
            if len(self.ids) == self._options.max_tokens:
                return "length"
            if len(self._prompt) + len(self.ids) <= cache.size:
                after = reader.top_after(id) if greedy else reader.after(id)
            elif (shorter := make_room()) is not None:
                self._prompt = shorter
                list(cache.prefill([*shorter, *self.ids], self._interrupt))
                after = cache.logits
                reader = Speculator(cache, self._interrupt, guesses=self._options.speculate)
            else:
                return "context"
        return "stop"

    def _drop_stop_string(self) -> None:
        """Let `ids` be those of the words before a stop string of the prompt format."""
        tokenizer, stops = self._vocabulary.tokenizer, self._vocabulary.stop_strings
        text = tokenizer.decode(self.ids) if stops else ""
        places = [text.find(stop) for stop in stops if stop in text]
        if not places:
            return
        said = text[: min(places)]
        while not said.startswith(known := tokenizer.decode(self.ids)):
            self.ids.pop()
        last = [*self._prompt, *self.ids][-1]  # a token may hold the last words and the stop
        after = last if isinstance(last, int) else None
        self.ids += tokenizer.encode([(said[len(known) :], False)], after=after)

    def _is_greedy(self) -> bool:
        """Whether nothing is asked of logits but which is the largest."""
        asked = self._options.logprobs is not None or self._options.speculate
        return self._sampler.greedy and self._constraint is None and not asked

    def _choose(self, after: Floats | Top) -> int:
        """The next id; the decoder itself has chosen it where a Top is given."""
        if isinstance(after, Top):
            return finite(after.id, after.logit)
        constraint = self._constraint
        id = self._sampler(after, constraint.allowed() if constraint else None)
        if not self.ids:
            self._clock.first()
        if constraint is not None:
            constraint.push(id)
        if (count := self._options.logprobs) is not None:
            self._logprobs.append(log_probabilities(after, id, count))
        return id

    def _told(self, text: str) -> Pieces:
        """A piece that more follow; the answer may have been ended, also while a reader has it."""
        self._interrupt.check()
        yield self._piece(text)
        self._interrupt.check()

    def _piece(self, text: str, finish: Finish | None = None) -> Piece:
        logprobs, self._logprobs = tuple(self._logprobs), []
        return Piece(text, self._clock.timings(len(self.ids)), finish, logprobs, self._stage)
