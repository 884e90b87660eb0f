"""Items in, pieces of text with their timings out: the one loop behind every answer."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from llava_edge.context import Context, Item
from llava_edge.errors import UsageError
from llava_edge.sampling import Sampler
from llava_edge.tokenizer import TextStream, Tokenizer


@dataclass(frozen=True)
class Timings:
    """What an answer took up to a piece; seconds on the wall clock."""

    encode_seconds: float  # pictures: decoding, preprocessing and vision tower
    prefill_seconds: float
    ttft_seconds: float  # from the call to the first token
    prompt_tokens: int  # with the conversation before it and the image tokens
    prefilled_tokens: int  # those that were not in the KV cache yet
    image_tokens: int
    generated_tokens: int
    tokens_per_second: float  # of the tokens after the first, 0 where there are none


@dataclass(frozen=True)
class Piece:
    """A piece of an answer; the pieces' texts joined are the answer, the last timings final."""

    text: str
    timings: Timings


class _Clock:
    """Notes the moments of an answer and makes Timings of them."""

    def __init__(self, items: list[Item], encode_seconds: float) -> None:
        self._start = time.perf_counter()
        self._encode_seconds = encode_seconds
        self._prompt_tokens = len(items)
        self._image_tokens = sum(isinstance(item, tuple) for item in items)
        self._prefilled_tokens = 0
        self._prefilled = self._first = self._start

    def prefilled(self, tokens: int) -> None:
        self._prefilled_tokens = tokens
        self._prefilled = time.perf_counter()

    def first(self) -> None:
        self._first = time.perf_counter()

    def timings(self, generated: int) -> Timings:
        decoding = time.perf_counter() - self._first
        return Timings(
            encode_seconds=self._encode_seconds,
            prefill_seconds=self._prefilled - self._start,
            ttft_seconds=self._encode_seconds + self._first - self._start,
            prompt_tokens=self._prompt_tokens,
            prefilled_tokens=self._prefilled_tokens,
            image_tokens=self._image_tokens,
            generated_tokens=generated,
            tokens_per_second=(generated - 1) / decoding if generated > 1 else 0.0,
        )


def generate(
    items: list[Item],
    *,
    context: Context,
    tokenizer: Tokenizer,
    stop: frozenset[int],
    sampler: Sampler,
    max_tokens: int,
    encode_seconds: float,
) -> Iterator[Piece]:
    """Answer the prompt `items`, which grow by the answer's ids (without the stop token).

    Ends at a stop token, after `max_tokens`, or when the context is full. Raises UsageError when
    another answer was begun meanwhile, since both use the one KV cache.
    """
    clock = _Clock(items, encode_seconds)
    text = TextStream(tokenizer)
    logits, new = context.fill(items)
    run = context.run
    clock.prefilled(new)
    id = sampler(logits)
    clock.first()
    generated = 0
    while id not in stop:
        items.append(id)
        generated += 1
        if words := text.push(id):
            yield Piece(words, clock.timings(generated))
        if generated == max_tokens or len(items) > context.size:
            break
        if context.run != run:
            raise UsageError(
                "Another answer was begun before this one had ended; "
                "finish or close one before the next, or load the bundle twice."
            )
        id = sampler(context.push(id))
    yield Piece(text.flush(), clock.timings(generated))
