"""A record as a stage sees it: its ids, and the labels beside them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from tokenizers import AddedToken
from tokenizers import Tokenizer as HfTokenizer

from llava_edge.config import ImageConfig
from llava_edge.errors import RecordError, TrainingError
from llava_edge.prompt import IMAGE, PROMPTS, Message, plain, render
from llava_edge.records import Record
from llava_edge.tokenizer import Tokenizer
from llava_edge.tokenizer_file import read_tokenizer_file
from llava_edge.train.recipe import Recipe, Stage
from llava_edge.train.records.image_tokens import count_image_tokens
from llava_edge.train.records.labels import Encoding, label, truncate

Place = Literal["written", "first", "random"]
NO_PIXELS = ImageConfig(size=0, mean=(0, 0, 0), std=(1, 1, 1), mode="square")


class Encoder:
    """Encodes a stage's records: its prompt format, the picture's place, the longest length."""

    def __init__(
        self, encoding: Encoding, max_tokens: int, place: Place = "written", seed: int = 0
    ) -> None:
        self.encoding = encoding
        self.max_tokens = max_tokens
        self._place = place
        self._seed = seed

    @classmethod
    def of_stage(cls, encoding: Encoding, recipe: Recipe, stage: Stage) -> "Encoder":
        """As the stage says; of its own prompt format if it has one."""
        if stage.prompt == "plain":
            encoding = replace(encoding, prompt=plain(encoding.prompt))
        return cls(encoding, recipe.max_tokens, stage.picture_place, recipe.seed)

    def __str__(self) -> str:
        """What a count of tokens depends on."""
        encoding = self.encoding
        return f"{encoding.prompt.name}, {encoding.image_tokens}, {self.max_tokens}"

    def __call__(self, record: Record, position: int) -> tuple[list[int], list[int]]:
        """The ids and labels of the record at a position, which decides what is random.

        Raises RecordError where no label is left within `max_tokens`.
        """
        ids, labels = self.whole(record, position)
        try:
            return truncate(ids, labels, self.max_tokens, self.encoding.image_token_id)
        except RecordError as error:
            raise RecordError(f"{record.id}: {error}") from error

    def whole(self, record: Record, position: int) -> tuple[list[int], list[int]]:
        """The same without an end at `max_tokens`."""
        messages, prompt = record.messages, self.encoding.prompt
        if self._place != "written":
            random = np.random.default_rng([self._seed, position])
            last = self._place == "random" and bool(random.integers(2))
            messages = place_picture(messages, prompt.image_suffix, last=last)
        return label(render(messages, prompt, self.encoding.tokenizer), self.encoding)


def read_encoding(recipe: Recipe) -> Encoding:
    """What training encodes records with, from small files: there is no size to make pixels of."""
    tokenizer = read_tokenizer_file(Path(recipe.language_model))
    check_prompt(tokenizer, recipe)
    id = add_image_token(tokenizer, recipe.image_token)
    prompt, image_tokens = PROMPTS[recipe.prompt], count_image_tokens(recipe)
    return Encoding(Tokenizer(tokenizer), prompt, NO_PIXELS, image_tokens, id)


def check_prompt(tokenizer: HfTokenizer, recipe: Recipe) -> None:
    """Raise TrainingError where the vocabulary lacks a token of the recipe's prompt format."""
    prompt = PROMPTS[recipe.prompt]
    for token in filter(None, (prompt.bos, *prompt.stop)):
        if tokenizer.token_to_id(token) is None:
            raise TrainingError(
                f"The language model {recipe.language_model} has no token {token}, which the "
                f'prompt format "{recipe.prompt}" needs; set prompt to the format that the model '
                "was tuned with."
            )


def add_image_token(tokenizer: HfTokenizer, token: str) -> int:
    """The id of the image token, which is added to the vocabulary where it is missing."""
    if tokenizer.token_to_id(token) is None:
        tokenizer.add_special_tokens([AddedToken(token, special=True)])
    id: int = tokenizer.token_to_id(token)  # type: ignore[assignment]
    return id


def place_picture(messages: Sequence[Message], between: str, *, last: bool) -> tuple[Message, ...]:
    """The first question with its one picture before the words, or after them (paper, eq. 2)."""
    question, *rest = messages
    if question.text.count(IMAGE) != 1:
        return tuple(messages)
    words = question.text.replace(IMAGE, "").strip()
    parts = (words, IMAGE) if last else (IMAGE, words)
    return Message(question.role, between.join(parts)), *rest
