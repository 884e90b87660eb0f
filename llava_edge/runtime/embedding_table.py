"""The embedding table: its rows are gathered from `weights.bin` by the host, not by a graph."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from llava_edge.core.array_types import Floats
from llava_edge.core.bundle_config import EmbeddingConfig
from llava_edge.runtime.mapped_tensor import map_tensor


class EmbeddingTable:
    """Maps ids to rows [S, D]; the file stays on disk until rows of it are asked for."""

    def __init__(
        self, weights: Path, config: EmbeddingConfig, *, vocab_size: int, hidden_size: int
    ) -> None:
        self._bits = config.bits
        self._hidden_size = hidden_size
        self._scales = self._zero_points = None
        if config.bits > 8:
            dtypes = ("float16", "bfloat16") if config.bits == 16 else ("float32",)
            self._data = map_tensor(weights, config.data, (vocab_size, hidden_size), *dtypes)
            self._is_bfloat16 = config.data.dtype == "bfloat16"
            return
        count = math.ceil(hidden_size / config.block_size)
        data = (vocab_size, count, config.block_size * config.bits // 8)
        zero_points = (vocab_size, math.ceil(count * config.bits / 8))
        self._data = map_tensor(weights, config.data, data, "uint8")
        if config.zero_points is not None:
            self._zero_points = map_tensor(weights, config.zero_points, zero_points, "uint8")
        self._scales = map_tensor(weights, config.scales, (vocab_size, count), "float16", "float32")

    def rows(self, ids: Sequence[int]) -> Floats:
        """Gather embeddings [S, D]."""
        places = np.asarray(ids, dtype=np.int64)
        data = self._data[places]  # [S, D] or [S, B, block_size * bits / 8]
        if self._scales is None:
            return _widen(data) if self._is_bfloat16 else data.astype(np.float32)
        scales = self._scales[places].astype(np.float32)  # [S, B]
        rows = (self._unpack(data) - self._zeros(places, scales.shape[1])) * scales[..., None]
        return rows.reshape(len(places), -1)[:, : self._hidden_size]

    def close(self) -> None:
        """Let go of the file."""
        self._data = self._data[:0].copy()
        self._scales = self._zero_points = None

    def _zeros(self, places: npt.NDArray[np.int64], blocks: int) -> Floats:
        """The zero points [S, B, 1] of rows, or the one that all have."""
        if self._zero_points is None:
            return np.full(1, 1 << self._bits - 1, np.float32)
        return self._unpack(self._zero_points[places])[:, :blocks, None]

    def _unpack(self, data: npt.NDArray[np.generic]) -> Floats:
        """[..., n] bytes -> [..., n * 8 / bits] integers."""
        if self._bits == 8:
            return data.astype(np.float32)
        bytes_ = data.astype(np.uint8)
        halves = np.stack((bytes_ & 15, bytes_ >> 4), axis=-1)
        return halves.reshape(*data.shape[:-1], -1).astype(np.float32)


def _widen(data: npt.NDArray[np.generic]) -> Floats:
    """bfloat16, which numpy does not know, is the upper half of a float32."""
    return (data.astype(np.uint32) << np.uint32(16)).view(np.float32)
