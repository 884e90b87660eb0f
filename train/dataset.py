"""Records become token ids with the labels beside them, and pixels; batches pad on the right."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from llava_edge.config import ImageConfig, PromptConfig
from llava_edge.image import load_picture, preprocess
from llava_edge.prompt import render
from llava_edge.records import Record
from llava_edge.tokenizer import Tokenizer
from llava_edge.train.labels import IGNORE_INDEX, label

CHARACTERS_PER_TOKEN = 4  # of English, roughly


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
    """Ids and labels [S] and the picture's pixels [3, H, W]."""

    input_ids: Tensor
    labels: Tensor
    pixel_values: Tensor | None


class RecordDataset(Dataset[Example]):
    """Encodes records one at a time, as they are asked for."""

    def __init__(self, records: Sequence[Record], encoding: Encoding) -> None:
        self._records = records
        self._encoding = encoding

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        record, encoding = self._records[index], self._encoding
        segments = render(record.messages, encoding.prompt, encoding.tokenizer)
        ids, labels = label(segments, encoding)
        pixels = None
        if record.image:
            picture = load_picture(record.image)
            pixels = torch.from_numpy(preprocess(picture, encoding.image))
        return Example(torch.tensor(ids), torch.tensor(labels), pixels)

    @property
    def lengths(self) -> list[int]:
        """About how many tokens each record takes: enough to batch alike ones together."""
        return [
            sum(len(message.text) for message in record.messages) // CHARACTERS_PER_TOKEN
            + (self._encoding.image_tokens if record.image else 0)
            for record in self._records
        ]


def collate(examples: Sequence[Example]) -> dict[str, Tensor]:
    """Join examples into a batch: ids, labels, mask [B, S], and pixels [n, 3, H, W]."""
    ids = [example.input_ids for example in examples]
    labels = [example.labels for example in examples]
    pixels = [example.pixel_values for example in examples if example.pixel_values is not None]
    mask = [torch.ones_like(row) for row in ids]
    batch = {"input_ids": _pad(ids, 0), "labels": _pad(labels, IGNORE_INDEX)}
    batch["attention_mask"] = _pad(mask, 0)
    if pixels:
        batch["pixel_values"] = torch.stack(pixels)
    return batch


def _pad(rows: Sequence[Tensor], value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)
