"""Whether a derived format writes what its chat template writes, text and ids."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer as HfTokenizer

from llava_edge.core.prompt import Picture, WrittenMessage, render
from llava_edge.core.prompt_pieces import as_text
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.export.prompts.conversations import Exchange
from llava_edge.export.prompts.derive_prompt import Derived
from llava_edge.export.prompts.render_template import TemplateRenderer
from llava_edge.export.prompts.sample_conversations import (
    ENDED,
    SPACED_ANSWER,
    Sampled,
    sample_conversations,
)

COUNT = 64
_BEFORE, _AFTER = 16, 32  # characters shown around the first that differs


@dataclass(frozen=True)
class Mismatch:
    """A conversation that the template writes otherwise than the format does, and where they part.

    With `ids_alone` the text is the same, but some tokens meet that the format encodes apart.
    """

    traits: tuple[str, ...]  # what is special about the conversation
    theirs: str
    ours: str
    ids_alone: bool = False


def mismatches(
    derived: Derived, renderer: TemplateRenderer, tokenizer: HfTokenizer, image: str
) -> list[Mismatch]:
    """Those of COUNT conversations that differ, the plainest first.

    Ids are compared too: what the tokenizer makes of the template's text, against `render`'s.
    `image` stands for a picture. Raises CheckpointError for a template that cannot be rendered.
    """
    samples = sample_conversations(COUNT, system=derived.prompt.system_prefix is not None)
    texts = renderer([each.exchange.for_template(derived.style, image) for each in samples])
    comparison = _Comparison(derived, tokenizer, image)
    found = (comparison.mismatch(sample, text) for sample, text in zip(samples, texts, strict=True))
    return sorted((each for each in found if each is not None), key=_plainness)


def _plainness(mismatch: Mismatch) -> tuple[bool, bool, bool, int]:
    """White space around an answer matters least: a chat keeps an answer as it came."""
    traits = mismatch.traits
    return mismatch.ids_alone, SPACED_ANSWER in traits, ENDED in traits, len(traits)


class _Comparison:
    def __init__(self, derived: Derived, tokenizer: HfTokenizer, image: str) -> None:
        self._prompt = derived.prompt
        self._theirs, self._ours = tokenizer, Tokenizer(tokenizer)
        self._image = image if derived.prompt.image_token else None
        added = tokenizer.get_added_tokens_decoder().values()
        self._special = [token.content for token in added if token.special]

    def mismatch(self, sample: Sampled, theirs: str | None) -> Mismatch | None:
        messages = sample.exchange.for_us(self._prompt)
        ours = as_text(messages, self._prompt).removeprefix(self._prompt.bos)
        if theirs is None:
            return Mismatch(sample.traits, "an error", _excerpt(ours, 0))
        if messages[-1].role == "assistant" and theirs.startswith(ours):
            theirs = ours  # what may follow the last answer is no part of a prompt
        if theirs != ours:
            place = _first_other(theirs, ours)
            return Mismatch(sample.traits, _excerpt(theirs, place), _excerpt(ours, place))
        if not self._has_ids(sample.exchange):
            return None
        expected, found = self._expected(theirs), self._found(messages)
        if expected == found:
            return None
        place = _first_other(expected, found)
        theirs, ours = (" ".join(map(str, ids[place:][:3])) for ids in (expected, found))
        return Mismatch(sample.traits, theirs, ours, ids_alone=True)

    def _has_ids(self, exchange: Exchange) -> bool:
        """Whether ids can be the same.

        Special tokens that somebody types are plain text to us. White space around an answer is
        encoded by itself, since an answer comes id by id.
        """
        words = [part for turn in exchange.turns for part in turn.parts if part is not None]
        answers = [turn.parts[0] or "" for turn in exchange.turns if turn.role == "assistant"]
        typed = any(token in text for token in self._special for text in words)
        pictures = any(turn.pictures for turn in exchange.turns)
        spaced = any(answer != answer.strip() for answer in answers)
        return not typed and not spaced and not (pictures and self._image is None)

    def _expected(self, text: str) -> list[int | None]:
        bos = [self._theirs.token_to_id(self._prompt.bos)] if self._prompt.bos else []
        return [*bos, *self._theirs.encode(text, add_special_tokens=False).ids]

    def _found(self, messages: list[WrittenMessage]) -> list[int | None]:
        picture = self._theirs.token_to_id(self._image) if self._image else None
        return [
            id
            for segment in render(messages, self._prompt, self._ours)
            for id in ([picture] if isinstance(segment, Picture) else segment.ids)
        ]


def _first_other(first: Sequence[object], second: Sequence[object]) -> int:
    """The place where two sequences that differ begin to."""
    pairs = enumerate(zip(first, second, strict=False))
    shorter = min(len(first), len(second))
    return next((place for place, (one, other) in pairs if one != other), shorter)


def _excerpt(text: str, place: int) -> str:
    start = max(place - _BEFORE, 0)
    end = place + _AFTER
    dots = "..." if start else "", "..." if end < len(text) else ""
    shown = text[start:end].replace("\\", "\\\\").replace("\n", "\\n")
    return f'"{dots[0]}{shown}{dots[1]}"'
