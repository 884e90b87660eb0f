"""The embedding table: its rows are gathered from `weights.bin` by the host, not by a graph."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from llava_edge.config import EmbeddingConfig, TensorRef
from llava_edge.errors import BundleError


class EmbeddingTable:
    """Maps ids to rows [S, D]; the file stays on disk until rows of it are asked for."""

    def __init__(
        self, weights: Path, config: EmbeddingConfig, *, vocab_size: int, hidden_size: int
    ) -> None:
        self._hidden_size = hidden_size
        blocks = (vocab_size, math.ceil(hidden_size / config.block_size))
        self._scales = self._zero_points = None
        if config.bits == 8:
            data = (*blocks, config.block_size)
            self._data = _open(weights, config.data, data, "uint8")
            self._scales = _open(weights, config.scales, blocks, "float16", "float32")
            self._zero_points = _open(weights, config.zero_points, blocks, "uint8")
        else:
            self._data = _open(weights, config.data, (vocab_size, hidden_size), "float32")

    def rows(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Gather embeddings [S, D]."""
        places = np.asarray(ids, dtype=np.int64)
        data = self._data[places].astype(np.float32)  # [S, D] or [S, D / block, block]
        if self._scales is not None and self._zero_points is not None:
            data -= self._zero_points[places].astype(np.float32)[..., None]
            data *= self._scales[places].astype(np.float32)[..., None]
        return data.reshape(len(places), -1)[:, : self._hidden_size]


def _open(
    weights: Path, ref: TensorRef | None, shape: tuple[int, ...], *dtypes: str
) -> npt.NDArray[np.generic]:
    """Map a tensor that bundle.json describes, if it is one that can be meant."""
    fits = ref is not None and ref.shape == shape and ref.dtype in dtypes and ref.offset >= 0
    if ref is None or not fits:
        raise BundleError(
            f"bundle.json places {ref} in {weights}, but the embedding table needs "
            f"{' or '.join(dtypes)} {list(shape)}; export the bundle again."
        )
    try:
        return np.memmap(weights, dtype=ref.dtype, mode="r", offset=ref.offset, shape=shape)
    except (OSError, ValueError) as error:
        raise BundleError(
            f"{weights} ends before byte {ref.offset} and the {math.prod(shape)} numbers that "
            "bundle.json places there; export the bundle again."
        ) from error
