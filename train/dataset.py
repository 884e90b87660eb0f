"""Records become token ids with the labels beside them, and pictures; batches pack or pad them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from llava_edge.config import ImageConfig, PromptConfig
from llava_edge.image import load_picture, preprocess
from llava_edge.prompt import IMAGE, Message, Picture, Segment, render
from llava_edge.records import Record
from llava_edge.tokenizer import Tokenizer
from llava_edge.train.batches import Indexes
from llava_edge.train.features import Features

IGNORE_INDEX = -100  # a position whose loss is not counted
CHARACTERS_PER_TOKEN = 4  # of English, roughly

Place = Literal["written", "first", "random"]


@dataclass(frozen=True)
class Encoding:
    """What records are encoded with: the runtime's own prompt format and picture preprocessing."""

    tokenizer: Tokenizer
    prompt: PromptConfig
    image: ImageConfig
    image_tokens: int
    image_token_id: int


@dataclass(frozen=True)
class Example:
    """Ids and labels [S], and its pictures: pixels [n, 3, H, W] or the tower's rows [n, T, C]."""

    record: str
    input_ids: Tensor
    labels: Tensor
    pixel_values: Tensor | None = None
    features: Tensor | None = None


class RecordDataset(Dataset[Example]):
    """Encodes records one at a time, as they are asked for; record -1 is record 0, unlabelled."""

    def __init__(
        self,
        records: Sequence[Record],
        encoding: Encoding,
        features: Features | None = None,
        *,
        place: Place = "written",
        seed: int = 0,
    ) -> None:
        self._records = records
        self._encoding = encoding
        self._features = features
        self._place = place
        self._seed = seed

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        record = self._records[max(index, 0)]
        ids, labels = self._label(record, max(index, 0))
        return Example(
            record.id,
            torch.tensor(ids),
            torch.tensor(labels if index >= 0 else [IGNORE_INDEX] * len(ids)),
            **self._pictures(record),
        )

    @property
    def cached(self) -> bool:
        """Whether the tower's rows are read rather than computed."""
        return self._features is not None

    def lengths(self) -> tuple[Indexes, NDArray[np.bool_]]:
        """About how many tokens each record takes, and whether it has a picture."""
        tokens = [
            sum(len(message.text) for message in record.messages) // CHARACTERS_PER_TOKEN
            + self._encoding.image_tokens * len(record.images)
            for record in self._records
        ]
        pictured = [bool(record.images) for record in self._records]
        return np.array(tokens), np.array(pictured)

    def _label(self, record: Record, index: int) -> tuple[list[int], list[int]]:
        encoding = self._encoding
        messages = record.messages
        if self._place != "written":
            last = self._place == "random" and bool(
                np.random.default_rng([self._seed, index]).integers(2)
            )
            messages = place_picture(messages, encoding.prompt, last=last)
        return label(render(messages, encoding.prompt, encoding.tokenizer), encoding)

    def _pictures(self, record: Record) -> dict[str, Tensor]:
        if not record.images:
            return {}
        if self._features is not None:
            return {"features": torch.stack([self._features[picture] for picture in record.images])}
        pixels = [preprocess(load_picture(file), self._encoding.image) for file in record.images]
        return {"pixel_values": torch.from_numpy(np.stack(pixels))}


def place_picture(
    messages: Sequence[Message], prompt: PromptConfig, *, last: bool
) -> tuple[Message, ...]:
    """The first question with its one picture before the words, or after them (paper, eq. 2)."""
    question, *rest = messages
    if question.text.count(IMAGE) != 1:
        return tuple(messages)
    words = question.text.replace(IMAGE, "").strip()
    parts = (words, IMAGE) if last else (IMAGE, words)
    return Message(question.role, prompt.image_suffix.join(parts)), *rest


def label(segments: Sequence[Segment], encoding: Encoding) -> tuple[list[int], list[int]]:
    """Lay segments out as ids and labels; a picture is its placeholder, once per image token."""
    ids: list[int] = []
    labels: list[int] = []
    for segment in segments:
        if isinstance(segment, Picture):
            run = [encoding.image_token_id] * encoding.image_tokens
        else:
            run = list(segment.ids)
        learned = not isinstance(segment, Picture) and segment.learned
        ids += run
        labels += run if learned else [IGNORE_INDEX] * len(run)
    return ids, labels


def pack(examples: Sequence[Example]) -> dict[str, Any]:
    """Lay examples end to end: ids, labels, positions [1, S], and where each of them begins.

    `segments` are the bounds 0, ..., S; positions begin anew with each example.
    """
    lengths = [len(example.input_ids) for example in examples]
    return {
        "input_ids": torch.cat([example.input_ids for example in examples])[None],
        "labels": torch.cat([example.labels for example in examples])[None],
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        "segments": [0, *accumulate(lengths)],
        **_common(examples),
    }


def pad(examples: Sequence[Example]) -> dict[str, Any]:
    """Lay examples above each other, padded on the right: ids, labels, mask [B, S]."""
    ids = [example.input_ids for example in examples]
    labels = [example.labels for example in examples]
    return {
        "input_ids": _pad(ids, 0),
        "labels": _pad(labels, IGNORE_INDEX),
        "attention_mask": _pad([torch.ones_like(row) for row in ids], 0),
        **_common(examples),
    }


def _common(examples: Sequence[Example]) -> dict[str, Any]:
    """The records' ids and lengths, and their pictures joined."""
    pixels = [example.pixel_values for example in examples if example.pixel_values is not None]
    features = [example.features for example in examples if example.features is not None]
    joined = {"pixel_values": pixels, "features": features}
    return {
        "records": [example.record for example in examples],
        "lengths": [len(example.input_ids) for example in examples],
        **{name: torch.cat(parts) for name, parts in joined.items() if parts},
    }


def _pad(rows: Sequence[Tensor], value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)
