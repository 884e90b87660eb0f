"""Rows of an embedding table or a head that an adapter trained (peft's trainable tokens)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llava_edge.errors import CheckpointError
from llava_edge.export.formats.lazy_tensor import LazyTensor


@dataclass(frozen=True)
class TrainedRows:
    """`rows` [n, D] take the places `ids` of a table; ids beyond its end make it longer."""

    ids: Sequence[int]
    rows: LazyTensor


def with_rows(table: LazyTensor, trained: TrainedRows, where: Path) -> LazyTensor:
    """The table with its trained rows; raises CheckpointError where they do not fit it."""
    length, width = table.shape
    ids = trained.ids
    end = max(length, max(ids, default=0) + 1)
    if trained.rows.shape != (len(ids), width) or min(ids, default=0) < 0:
        raise CheckpointError(
            f"{where} has trained rows {list(trained.rows.shape)} for {len(ids)} tokens of a table "
            f"{list(table.shape)}; give the base that the adapter was trained on."
        )
    if lost := sorted({*range(length, end)} - {*ids}):
        raise CheckpointError(
            f"{where} has a row for the token {end - 1}, but none for {lost[0]}, which the base's "
            f"table of {length} rows lacks as well; save the adapter with "
            "save_embedding_layers=True."
        )
    return LazyTensor((end, width), partial(_read, table, trained, end - length))


def _read(table: LazyTensor, trained: TrainedRows, more: int) -> NDArray[Any]:
    result = np.pad(table.read().astype(np.float32), ((0, more), (0, 0)))
    result[list(trained.ids)] = trained.rows.read()
    return result
