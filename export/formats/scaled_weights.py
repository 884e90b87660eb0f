"""Weights of 8 bits, integers or floats, that are stored beside their scales."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llava_edge.core.array_types import Floats
from llava_edge.errors import CheckpointError
from llava_edge.export.formats.grouped_integers import GroupedIntegers, unkept_group
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.formats.quantized_layers import WAY_OUT, check_shape
from llava_edge.export.quantization.blocks import Blocks, Bytes

DTYPES = ("I8", "F8_E4M3")
ZERO_POINTS = "weight_zero_point"
_MIDDLE = 128  # what makes signed integers of 8 bits unsigned


@dataclass(frozen=True)
class ScaledWeight:
    """An [N, K] matrix: (weight - zero point) * scale.

    `block` is how many rows and columns share a scale and a zero point, of which there are
    [ceil(N / rows), ceil(K / columns)].
    """

    weight: LazyTensor
    block: tuple[int, int]
    scales: Callable[[], NDArray[Any]]
    zero_points: Callable[[], NDArray[Any]] | None = None

    def lazy(self) -> LazyTensor:
        """Integers are kept as blocks of 8 bits; floats cannot be kept."""
        shape, floats = self.weight.shape, self.weight.dtype != "I8"
        unkept = _FLOATS if floats else unkept_group(self.block[1], shape[1])
        return LazyTensor(shape, self._read, None if unkept else self._blocks, unkept)

    def _read(self) -> Floats:
        values = self.weight.read().astype(np.float32)
        columns = np.arange(values.shape[1]) // self.block[1]
        if self.zero_points is not None:
            values -= self._by_row(self.zero_points())[:, columns].astype(np.float32)
        values *= self._by_row(self.scales()).astype(np.float32)[:, columns]
        return values

    def _blocks(self) -> Blocks:
        scales = self._by_row(self.scales())  # [N, G]
        zeros = np.full(scales.shape, _MIDDLE, np.uint8)
        if self.zero_points is not None:
            zeros = _unsigned(self._by_row(self.zero_points()))
        integers = _unsigned(self.weight.read())
        return GroupedIntegers(integers, scales, zeros, 8, self.block[1]).blocks()

    def _by_row(self, array: NDArray[Any]) -> NDArray[Any]:
        return np.repeat(array, self.block[0], axis=0)[: self.weight.shape[0]]


_FLOATS = "as 8-bit floats (FP8)"


def _unsigned(integers: NDArray[Any]) -> Bytes:
    return integers.astype(np.int8).view(np.uint8) ^ np.uint8(_MIDDLE)


def open_scaled(
    name: str,
    parts: Mapping[str, LazyTensor],
    scales: str,
    square: tuple[int, int] | None,
    folder: Path,
) -> LazyTensor:
    """The matrix of a layer's `weight`, its part `scales` and, if there is one, its zero points.

    The scales' shape tells whether they are of the whole, of rows, of groups in a row or of
    squares of the given size. Raises CheckpointError where the parts do not fit each other.
    """
    weight = parts["weight"]
    if weight.dtype not in DTYPES or len(weight.shape) != 2:
        raise CheckpointError(
            f"{folder} holds {name}.weight as {weight.dtype} with scales, but matrices of "
            f"{' and '.join(DTYPES)} are what export reads; {WAY_OUT}."
        )
    found = parts[scales].shape
    block, shape = _spread(found, weight.shape, square)
    zeros = parts.get(ZERO_POINTS)
    fitting = [shape, found] if prod(found) == prod(shape) else [shape]
    for part in (scales, ZERO_POINTS):
        if part in parts:
            check_shape(f"{name}.{part}", parts[part], fitting, folder)
    return ScaledWeight(
        weight,
        block,
        lambda: parts[scales].read().reshape(shape),
        None if zeros is None else lambda: zeros.read().reshape(shape),
    ).lazy()


def _spread(
    found: tuple[int, ...], weight: tuple[int, ...], square: tuple[int, int] | None
) -> tuple[tuple[int, int], tuple[int, int]]:
    """How many rows and columns share a scale, and the scales' shape."""
    rows, columns = weight
    if prod(found) == 1:
        return (rows, columns), (1, 1)
    if found in ((rows,), (rows, 1)):
        return (1, columns), (rows, 1)
    if square is not None:
        return square, (-(-rows // square[0]), -(-columns // square[1]))
    groups = found[-1]
    size = columns // groups if groups and columns % groups == 0 else columns
    return (1, size), (rows, columns // size)
