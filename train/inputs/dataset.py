"""A stage's examples (ids, labels, pictures), and how they are packed or padded into batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from llava_edge.core.picture import picture_size
from llava_edge.data.picture_folder import PictureFile
from llava_edge.data.record_table import RecordTable
from llava_edge.data.record_types import Record
from llava_edge.errors import PictureError, RecordError
from llava_edge.train.inputs.batches import Indexes
from llava_edge.train.inputs.labels import IGNORE_INDEX
from llava_edge.train.inputs.picture_features import Features
from llava_edge.train.inputs.picture_views import image_tokens_of
from llava_edge.train.inputs.record_encoder import Encoder

CHARACTERS_PER_TOKEN = 4  # of English, roughly


@dataclass(frozen=True)
class Example:
    """Ids and labels [S], and its pictures: pixels [n, 3, H, W] or the tower's rows [n, T, C].

    n counts views; with tiles `image_sizes` [pictures, 2] are the pictures' heights and widths.
    """

    record: str
    input_ids: Tensor
    labels: Tensor
    pixel_values: Tensor | None = None
    features: Tensor | None = None
    image_sizes: Tensor | None = None


class RecordDataset(Dataset[Example]):
    """Encodes records one at a time, when they are asked for; record -1 is record 0 without labels.

    `positions` are the positions of the table that are used, by default all; `features` are the
    tower's rows, if they are known, and take the place of the pictures.
    """

    def __init__(
        self,
        table: RecordTable,
        encoder: Encoder,
        positions: Indexes | None = None,
        features: Features | None = None,
    ) -> None:
        self._table = table
        self._encoder = encoder
        self._positions = np.arange(len(table)) if positions is None else positions
        self._features = features

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> Example:
        position = int(self._positions[max(index, 0)])
        record = self._table[position]
        try:
            return self._example(record, position, learned=index >= 0)
        except (PictureError, RecordError) as error:
            raise type(error)(f"{self._table.where(position)}: {error}") from error

    @property
    def cached(self) -> bool:
        """Whether the tower's rows are read rather than computed."""
        return self._features is not None

    @property
    def image_size(self) -> int:
        """Pixels along a side of what the tower is shown."""
        return self._encoder.encoding.image.size

    def lengths(self) -> tuple[Indexes, NDArray[np.bool_]]:
        """About how many tokens each record has, and whether it has a picture."""
        characters = self._table.characters[self._positions].astype(np.int64)
        image_tokens = image_tokens_of(self._table, self._positions, self._encoder.encoding.views)
        return characters // CHARACTERS_PER_TOKEN + image_tokens, image_tokens > 0

    def _example(self, record: Record, position: int, *, learned: bool) -> Example:
        ids, labels = self._encoder(record, position)
        encoding = self._encoder.encoding
        ends = accumulate(encoding.views.image_tokens(picture) for picture in record.images)
        places = ids.count(encoding.image_token_id)
        kept = sum(end <= places for end in ends)  # of a long record
        return Example(
            record.id,
            torch.tensor(ids),
            torch.tensor(labels if learned else [IGNORE_INDEX] * len(ids)),
            **self._pictures(record.images[:kept]),
        )

    def _pictures(self, pictures: Sequence[PictureFile]) -> dict[str, Tensor]:
        if not pictures:
            return {}
        views = self._encoder.encoding.views
        found = {}
        if views.tiles is not None:
            found["image_sizes"] = torch.tensor([picture_size(picture) for picture in pictures])
        if self._features is not None:
            features = torch.cat([self._features[picture] for picture in pictures])
            return found | {"features": features}
        return found | {"pixel_values": torch.cat([views.pixels(picture) for picture in pictures])}


def pack(examples: Sequence[Example]) -> dict[str, Any]:
    """Lay examples end to end: ids, labels, positions [1, S], and where each example begins.

    `segments` are the bounds 0, ..., S; positions start at 0 in each example.
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
    names = ("pixel_values", "features", "image_sizes")
    every = {name: [getattr(example, name) for example in examples] for name in names}
    joined = {name: [part for part in parts if part is not None] for name, parts in every.items()}
    return {
        "records": [example.record for example in examples],
        "lengths": [len(example.input_ids) for example in examples],
        **{name: torch.cat(parts) for name, parts in joined.items() if parts},
    }


def _pad(rows: Sequence[Tensor], value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)
