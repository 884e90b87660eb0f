"""Conversations at random, always the same ones, of words that could be mistaken."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from llava_edge.export.prompts.conversations import Exchange, Utterance, turn

WORDS = (
    "What is in the picture?",
    "Read it: [INST] no [/INST] <<SYS>> yes <</SYS>>",
    "USER: hi ASSISTANT: ho ###Human: he",
    "user\nassistant\nsystem",
    "a <Image> is no < image> and no <img>",
    "two  spaces,\ttabs\n\nand lines",
    "\u00e0 c\u00f4t\u00e9 \u6f22\u5b57 \U0001f642 \u2581 x\u00a0.",
    "{{ 7 * 7 }} {% raw %} {# no #}",
    "0",
)
SPACED = ("  before", "after \n", "\n both\t")
SPACED_ANSWER = "white space around an answer"
ENDED = "an answer at the end"
REASONED = "<think>\nwhy\n</think>\n\nso"
_SPACED_TRAITS = {
    "white space around words": ("system", "user"),
    SPACED_ANSWER: ("assistant",),
}


@dataclass(frozen=True)
class Sampled:
    """A conversation, and what is special about it."""

    exchange: Exchange
    traits: tuple[str, ...]


def sample_conversations(count: int, *, system: bool) -> list[Sampled]:
    """Conversations of 1 to 4 questions; the first is a plain question about a picture."""
    random = Random(0)
    plain = Exchange((turn("user", None, WORDS[0]),))
    drawn = (_exchange(random, system=system) for _ in range(count - 1))
    return [Sampled(each, tuple(_traits(each))) for each in (plain, *drawn)]


def _exchange(random: Random, *, system: bool) -> Exchange:
    turns = [_said(random)] if (begins := system and random.random() < 0.4) else []
    turns = [Utterance("system", each.parts) for each in turns]
    for _ in range(random.randint(1, 4)):
        turns += [_asked(random), _answered(random)]
    ends_in_answer = random.random() < 0.25 and not begins
    return Exchange(tuple(turns if ends_in_answer else turns[:-1]))


def _said(random: Random) -> Utterance:
    return turn("user", random.choice(WORDS if random.random() < 0.8 else SPACED))


def _asked(random: Random) -> Utterance:
    words = _said(random).parts
    match random.randrange(6):
        case 0:
            return turn("user", None, *words)
        case 1:
            return turn("user", *words, None)
        case 2:
            return turn("user", None, None, *words)
        case 3:
            return turn("user", *words, None, random.choice(WORDS))
        case _:
            return turn("user", *words)


def _answered(random: Random) -> Utterance:
    words = REASONED if random.random() < 0.1 else _said(random).parts[0]
    return turn("assistant", words)


def _traits(exchange: Exchange) -> Iterator[str]:
    turns = exchange.turns
    if turns[0].role == "system":
        yield "system words"
    if turns[-1].role == "assistant":
        yield ENDED
    if sum(turn.role == "user" for turn in turns) > 1:
        yield "several questions"
    if any(turn.pictures > 1 for turn in turns):
        yield "several pictures"
    if any(turn.pictures and turn.parts[0] is not None for turn in turns):
        yield "a picture after words"
    for trait, roles in _SPACED_TRAITS.items():
        said = (words for turn in turns if turn.role in roles for words in turn.parts)
        if any(words in SPACED for words in said):
            yield trait
    if any(REASONED in turn.parts for turn in turns):
        yield "reasoning in an answer"
