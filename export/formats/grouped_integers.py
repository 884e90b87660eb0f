"""Integers whose groups share a scale and a zero point, as several libraries store them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llava_edge.core.array_types import Floats
from llava_edge.export.quantization.blocks import Bits, Blocks, Bytes, from_integers

_SMALLEST_BLOCK, _LARGEST_BLOCK = 16, 256  # that onnxruntime's MatMulNBits takes
_WHOLE_ROW_BLOCK = 32  # of rows of any length that have one scale


@dataclass(frozen=True)
class GroupedIntegers:
    """An [N, K] matrix: (integer - zero point) * scale, with [N, G] scales and zero points.

    `group` neighbours in a row share a scale, in their order; the last group may be shorter.
    """

    integers: Bytes
    scales: NDArray[Any]
    zero_points: Bytes
    bits: Bits
    group: int

    def blocks(self) -> Blocks:
        """The same numbers, bit for bit, in onnxruntime's blocks."""
        rows, columns = self.integers.shape
        block = _block_size(self.group, columns)
        count, repeats = -(-columns // block), -(-self.group // block)
        padded = np.pad(self.integers, ((0, 0), (0, count * block - columns)))
        return from_integers(
            padded.reshape(rows, count, block),
            np.repeat(exact_half(self.scales), repeats, axis=1)[:, :count],
            np.repeat(self.zero_points, repeats, axis=1)[:, :count],
            bits=self.bits,
            columns=columns,
        )

    def dequantize(self) -> Floats:
        """The [N, K] float32 matrix, whatever the group."""
        columns = self.integers.shape[1]
        order = np.arange(columns) // self.group
        return dequantize_groups(self.integers, self.scales, self.zero_points, order)


def dequantize_groups(
    integers: Bytes, scales: NDArray[Any], zero_points: Bytes, order: NDArray[Any]
) -> Floats:
    """The [N, K] float32 matrix where column k belongs to the group order[k]."""
    values = integers.astype(np.float32)
    values -= zero_points[:, order]
    values *= scales.astype(np.float32)[:, order]
    return values


def unkept_group(group: int, columns: int) -> str:
    """Why groups of this size cannot be blocks, or nothing where they can."""
    fits = _block_size(group, columns) >= _SMALLEST_BLOCK
    return "" if fits else f"in groups of {group} weights"


def unpack_int32(packed: NDArray[Any], bits: Bits, *, axis: int) -> Bytes:
    """int32 [..] -> integers, 32 / bits times as many along the axis, the lowest bits first."""
    little = np.moveaxis(packed.astype("<i4", copy=False), axis, -1)
    parts = np.ascontiguousarray(little).view(np.uint8)  # [..., 4 * n]
    if bits == 4:
        parts = np.stack((parts & 15, parts >> 4), axis=-1).reshape(*parts.shape[:-1], -1)
    return np.moveaxis(parts, -1, axis)


def exact_half(scales: NDArray[Any]) -> NDArray[Any]:
    """As float16 where that changes no number, else as float32."""
    with np.errstate(over="ignore"):
        half = scales.astype(np.float16)
    same = np.array_equal(half.astype(np.float32), scales.astype(np.float32))
    return half if same else scales.astype(np.float32)


def _block_size(group: int, columns: int) -> int:
    """The largest block that groups can be cut into."""
    size = group & -group  # the largest power of two that divides it
    if group >= columns:  # one group, which any block has a part of
        size = max(size, _WHOLE_ROW_BLOCK)
    return min(size, _LARGEST_BLOCK)
