"""A record as a stage sees it: its ids, and the labels beside them."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from llava_edge.core.prompt import IMAGE, WrittenMessage, plain, render
from llava_edge.data.record_types import Record
from llava_edge.errors import PromptError, RecordError
from llava_edge.train.inputs.labels import Encoding, label, truncate
from llava_edge.train.recipe import Recipe, Stage

Place = Literal["written", "first", "random"]


class Encoder:
    """Encodes a stage's records, by its prompt format, place of the picture and longest length."""

    def __init__(
        self, encoding: Encoding, max_tokens: int, place: Place = "written", seed: int = 0
    ) -> None:
        self.encoding = encoding
        self.max_tokens = max_tokens
        self._place = place
        self._seed = seed

    @classmethod
    def of_stage(cls, encoding: Encoding, recipe: Recipe, stage: Stage) -> "Encoder":
        """The encoder that a stage asks for, with its own prompt format if it has one."""
        if stage.prompt == "plain":
            encoding = replace(encoding, prompt=plain(encoding.prompt))
        return cls(encoding, recipe.max_tokens, stage.picture_place, recipe.seed)

    @property
    def key(self) -> str:
        """Names everything that the length of an encoded record depends on."""
        encoding = self.encoding
        numbers = (encoding.image_tokens, encoding.tiles, self.max_tokens, self._place, self._seed)
        parts = (encoding.tokenizer.to_json(), encoding.prompt, numbers)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def __call__(self, record: Record, position: int) -> tuple[list[int], list[int]]:
        """The ids and labels of the record at a position, which seeds what is random.

        Raises RecordError if no label is left within `max_tokens`, and with tiles PictureError.
        """
        ids, labels = self.whole(record, position)
        try:
            return truncate(ids, labels, self.max_tokens, self.encoding.image_token_id)
        except RecordError as error:
            raise RecordError(f"{record.id}: {error}", error.problem) from error

    def whole(self, record: Record, position: int) -> tuple[list[int], list[int]]:
        """The same, but not cut at `max_tokens`.

        Raises RecordError for system words that the prompt format has no place for.
        """
        messages, prompt = record.messages, self.encoding.prompt
        if self._place != "written":
            random = np.random.default_rng([self._seed, position])
            last = self._place == "random" and bool(random.integers(2))
            messages = place_picture(messages, prompt.image_suffix, last=last)
        image_tokens = [self.encoding.views.image_tokens(picture) for picture in record.images]
        try:
            segments = render(messages, prompt, self.encoding.tokenizer)
        except PromptError as error:  # all else was seen when the record was read
            raise RecordError(f"{record.id}: {error}", "no place for system words") from error
        return label(segments, self.encoding, image_tokens)


def place_picture(
    messages: Sequence[WrittenMessage], between: str, *, last: bool
) -> tuple[WrittenMessage, ...]:
    """The first question with its one picture before the words, or after them (paper, eq. 2)."""
    number = int(messages[0].role == "system")
    question = messages[number]
    if question.text.count(IMAGE) != 1:
        return tuple(messages)
    words = question.text.replace(IMAGE, "").strip()
    parts = (words, IMAGE) if last else (IMAGE, words)
    placed = WrittenMessage(question.role, between.join(parts))
    return *messages[:number], placed, *messages[number + 1 :]
