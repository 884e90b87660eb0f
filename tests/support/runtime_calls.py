"""What the runtime makes of a prompt, for tests that look inside."""

from contextlib import nullcontext

from llava_edge import Llava, Options
from llava_edge.runtime.answer import Answer, Piece
from llava_edge.runtime.asked import asked_question
from llava_edge.runtime.interrupt import Interrupt
from llava_edge.runtime.loaded_bundle import LoadedBundle
from llava_edge.runtime.options import DEFAULTS
from llava_edge.runtime.prefix_cache import Item, PrefixCache
from llava_edge.runtime.turn import Images, Turn


def turn_of(model: Llava, prompt: str, image: Images = None, options: Options = DEFAULTS) -> Turn:
    """The turn of a prompt with its pictures encoded."""
    question = asked_question(prompt, image, model.config.prompt)
    _, [turn] = model.bundle.turns([question], options)
    return turn


def items_of(model: Llava, prompt: str, image: Images = None) -> list[Item]:
    """A prompt as the model reads it."""
    return model.bundle.items([turn_of(model, prompt, image)])


def answer_anew(
    bundle: LoadedBundle, items: list[Item], options: Options
) -> tuple[Answer, list[Piece]]:
    """The answer to items, without anything in the KV cache, and its pieces."""
    answer = bundle.answer(options, Interrupt())
    cache = PrefixCache(bundle.decoder)
    return answer, list(answer.pieces(lambda: items, lambda _: nullcontext(cache)))
