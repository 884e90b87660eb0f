"""What the runtime makes of a prompt, for tests that look inside."""

from collections.abc import Generator, Sequence
from contextlib import nullcontext
from typing import TypeVar

from llava_edge import Llava, Message, Options
from llava_edge.runtime.answer import Answer, Piece, PromptInMaking
from llava_edge.runtime.asked import asked_question
from llava_edge.runtime.interrupt import Interrupt
from llava_edge.runtime.loaded_bundle import LoadedBundle
from llava_edge.runtime.options import DEFAULTS
from llava_edge.runtime.prefix_cache import Item, PrefixCache
from llava_edge.runtime.turn import Images, Turn

T = TypeVar("T")


def turn_of(model: Llava, prompt: str, image: Images = None, options: Options = DEFAULTS) -> Turn:
    """The turn of a prompt with its pictures encoded."""
    question = asked_question(prompt, image, model.config.prompt)
    _, [turn] = turns_of(model, [question], options)
    return turn


def turns_of(
    model: Llava, messages: Sequence[Message], options: Options = DEFAULTS
) -> tuple[str | None, list[Turn]]:
    """A conversation's system words, and its turns with their pictures encoded."""
    return model.bundle.turns(returned(model.bundle.see(messages, options, Interrupt())))


def returned(generator: Generator[object, None, T]) -> T:
    """What a generator returns when it has yielded all."""
    while True:
        try:
            next(generator)
        except StopIteration as end:
            value: T = end.value
            return value


def items_of(model: Llava, prompt: str, image: Images = None) -> list[Item]:
    """A prompt as the model reads it."""
    return model.bundle.items([turn_of(model, prompt, image)])


def answer_anew(
    bundle: LoadedBundle, items: list[Item], options: Options
) -> tuple[Answer, list[Piece]]:
    """The answer to items, without anything in the KV cache, and its pieces."""
    answer = bundle.answer(options, Interrupt())
    cache = PrefixCache(bundle.decoder)
    pieces = answer.pieces(lambda: made(items), lambda _: nullcontext(cache))
    return answer, list(pieces)


def made(items: list[Item]) -> PromptInMaking:
    """A prompt without pictures to encode."""
    yield from ()
    return items
