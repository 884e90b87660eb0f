"""Whether a derived format writes what its chat template writes, text and ids."""

from collections.abc import Iterator
from dataclasses import dataclass

from tokenizers import Tokenizer as HfTokenizer

from llava_edge.core.prompt import Message, Picture, render
from llava_edge.core.prompt_pieces import as_text
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.export.prompts.conversations import Exchange
from llava_edge.export.prompts.derive_prompt import Derived
from llava_edge.export.prompts.render_template import TemplateRenderer
from llava_edge.export.prompts.sample_conversations import sample_conversations

COUNT = 64
_BEFORE, _AFTER = 16, 32  # characters shown around the first that differs


@dataclass(frozen=True)
class Difference:
    """A conversation that the template writes otherwise than the format does."""

    traits: tuple[str, ...]  # what is special about it
    theirs: str  # where they part
    ours: str


def differences(
    derived: Derived, renderer: TemplateRenderer, tokenizer: HfTokenizer, image: str
) -> list[Difference]:
    """Those of COUNT conversations that differ, the plainest first.

    Ids are compared too: what the tokenizer makes of the template's text, against `render`'s.
    `image` stands for a picture. Raises CheckpointError for a template that cannot be rendered.
    """
    samples = sample_conversations(COUNT, system=derived.prompt.system_prefix is not None)
    texts = renderer([each.exchange.for_template(derived.style, image) for each in samples])
    comparison = _Comparison(derived, tokenizer, image)
    found = (
        Difference(sample.traits, *parted)
        for sample, text in zip(samples, texts, strict=True)
        for parted in comparison.parted(sample.exchange, text)
    )
    return sorted(found, key=lambda each: len(each.traits))


class _Comparison:
    def __init__(self, derived: Derived, tokenizer: HfTokenizer, image: str) -> None:
        self._prompt = derived.prompt
        self._theirs, self._ours = tokenizer, Tokenizer(tokenizer)
        self._image = image if derived.prompt.image_token else None
        added = tokenizer.get_added_tokens_decoder().values()
        self._special = [token.content for token in added if token.special]

    def parted(self, exchange: Exchange, theirs: str | None) -> Iterator[tuple[str, str]]:
        """Where the texts, or else the ids, begin to differ; nothing where they are equal."""
        messages = exchange.for_us(self._prompt)
        ours = as_text(messages, self._prompt).removeprefix(self._prompt.bos)
        if theirs is not None and messages[-1].role == "assistant":
            theirs = _without_end(theirs, ours)
        if theirs is None:
            yield "an error", _excerpt(ours, 0)
        elif theirs != ours:
            same = zip(theirs, ours, strict=False)
            shorter = min(len(theirs), len(ours))
            place = next((i for i, pair in enumerate(same) if pair[0] != pair[1]), shorter)
            yield _excerpt(theirs, place), _excerpt(ours, place)
        elif self._has_ids(exchange):
            expected, found = self._expected(theirs), self._found(messages)
            if expected != found:
                place = next(i for i in range(len(found) + 1) if expected[:i] != found[:i])
                yield f"ids {expected[place - 2 :][:8]}", f"ids {found[place - 2 :][:8]}"

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
        ids = list(self._theirs.encode(text, add_special_tokens=False).ids)
        return [self._theirs.token_to_id(self._prompt.bos), *ids] if self._prompt.bos else ids

    def _found(self, messages: list[Message]) -> list[int | None]:
        picture = self._theirs.token_to_id(self._image) if self._image else None
        return [
            id
            for segment in render(messages, self._prompt, self._ours)
            for id in ([picture] if isinstance(segment, Picture) else segment.ids)
        ]


def _without_end(theirs: str, ours: str) -> str:
    """A conversation that ends in an answer, without the end of a line that may follow it."""
    same = theirs.startswith(ours) and not theirs[len(ours) :].strip()
    return ours if same else theirs


def _excerpt(text: str, place: int) -> str:
    start = max(place - _BEFORE, 0)
    end = place + _AFTER
    dots = "..." if start else "", "..." if end < len(text) else ""
    return '"' + dots[0] + text[start:end].replace("\n", "\\n") + dots[1] + '"'
