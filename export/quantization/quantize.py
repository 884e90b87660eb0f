"""A weight matrix becomes blocks of integers, by one of the schemes, on all cores."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from llava_edge.core.array_types import Floats
from llava_edge.core.machine import usable_cores
from llava_edge.export.quantization.blocks import Bits, Blocks, from_integers
from llava_edge.export.quantization.schemes import SCHEMES, Scheme

CHUNK = 1 << 17  # weights worked on at once: as float32 half a megabyte, cache-sized


def quantize(
    matrix: NDArray[np.floating],
    bits: Bits,
    block_size: int = 32,
    scheme: Scheme = "kquant",
    *,
    symmetric: bool = False,
) -> Blocks:
    """Quantize an [N, K] matrix of any float type.

    Raises OverflowError where a block's scale is beyond float16.
    """
    rows, columns = matrix.shape
    blocks = -(-columns // block_size)
    integers = np.empty((rows, blocks, block_size), np.uint8)
    scales = np.empty((rows, blocks), np.float16)
    zero_points = np.empty((rows, blocks), np.uint8)

    def work(start: int) -> None:
        part = slice(start, start + step)
        found = SCHEMES[scheme](_blocks_last(matrix[part], blocks, block_size), bits, symmetric)
        integers[part] = found.integers.T.reshape(-1, blocks, block_size)
        scales[part] = found.scale.reshape(-1, blocks)
        zero_points[part] = found.zero_point.reshape(-1, blocks)

    step = max(1, CHUNK // (blocks * block_size))
    with ThreadPoolExecutor(usable_cores()) as threads:
        list(threads.map(work, range(0, rows, step)))
    if not np.isfinite(scales).all():
        raise OverflowError(f"weights up to {np.abs(matrix).max():.3g} need scales beyond float16")
    return from_integers(integers, scales, zero_points, bits=bits, columns=columns)


def _blocks_last(matrix: NDArray[np.floating], blocks: int, block_size: int) -> Floats:
    """[n, K] -> contiguous float32 [block_size, n * blocks]; zeros fill a last block."""
    missing = blocks * block_size - matrix.shape[1]
    whole = np.pad(matrix, ((0, 0), (0, missing))) if missing else matrix
    return np.ascontiguousarray(whole.reshape(-1, block_size).T, np.float32)
