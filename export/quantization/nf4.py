"""NF4: blocks of 4-bit places in a fixed table of numbers (QLoRA, arXiv 2305.14314, appendix E).

The numbers are those of bitsandbytes, the layout that of onnxruntime's MatMulBnb4.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llava_edge.core.weight_formats import NF4_BLOCK_SIZE

CHUNK = 1 << 20  # weights worked on at once

TABLE = np.array(
    [
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ],
    np.float32,
)
_BETWEEN = (TABLE[1:] + TABLE[:-1]) / 2


@dataclass(frozen=True)
class Nf4:
    """An [N, K] matrix, row by row in blocks that may reach over the end of a row.

    `data` is [ceil(N * K / 2)] uint8, the earlier of two places in the upper half, and `largest`
    [ceil(N * K / block_size)] float32 the largest magnitude of each block.
    """

    rows: int
    columns: int
    block_size: int
    data: NDArray[np.uint8]
    largest: NDArray[np.float32]


def quantize_nf4(matrix: NDArray[np.floating], block_size: int = NF4_BLOCK_SIZE) -> Nf4:
    """Quantize an [N, K] matrix of any float type."""
    rows, columns = matrix.shape
    flat = np.ascontiguousarray(matrix).reshape(-1)
    chunk = CHUNK // block_size * block_size
    parts = [_part(flat[i : i + chunk], block_size) for i in range(0, len(flat), chunk)]
    places = np.concatenate([places for places, _ in parts])
    places = np.pad(places, (0, len(flat) % 2))
    data = places[0::2] << np.uint8(4) | places[1::2]
    return Nf4(rows, columns, block_size, data, np.concatenate([largest for _, largest in parts]))


def dequantize_nf4(matrix: Nf4, table: NDArray[np.float32] = TABLE) -> NDArray[np.float32]:
    """The [N, K] float32 matrix that MatMulBnb4 multiplies with.

    With the `table` of another format of 16 numbers, such as FP4's, it is that format's matrix.
    """
    size = matrix.rows * matrix.columns
    places = np.stack((matrix.data >> 4, matrix.data & 15), axis=-1).reshape(-1)[:size]
    values: NDArray[np.float32] = table[places]
    values *= np.repeat(matrix.largest, matrix.block_size)[:size]
    return values.reshape(matrix.rows, matrix.columns)


def _part(
    values: NDArray[np.floating], block_size: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    size = len(values)
    padded = np.pad(values.astype(np.float32), (0, -size % block_size)).reshape(-1, block_size)
    largest: NDArray[np.float32] = np.abs(padded).max(axis=1)
    inverse = np.divide(np.float32(1), largest, out=np.zeros_like(largest), where=largest > 0)
    places = np.searchsorted(_BETWEEN, padded * inverse[:, None]).astype(np.uint8)
    return places.reshape(-1)[:size], largest
