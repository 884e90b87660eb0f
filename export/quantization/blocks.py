"""A weight matrix as blocks of 4- or 8-bit integers, in the layout of onnxruntime's MatMulNBits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llava_edge.core.array_types import Floats

Bits = Literal[4, 8]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Blocks:
    """An [N, K] matrix in B = ceil(K / block_size) blocks a row: (integer - zero point) * scale.

    `data` is [N, B, block_size * bits / 8] uint8, `scales` [N, B] float16 (float32 where an
    imported checkpoint's own are) and `zero_points` [N, ceil(B * bits / 8)] uint8; of two 4-bit
    values in a byte the first is the lower half. A last block that is longer than the row ends in
    zeros. Without `zero_points` (symmetric) each is the middle of the integers, 8 or 128.
    """

    bits: Bits
    block_size: int
    columns: int
    data: Bytes
    scales: NDArray[Any]
    zero_points: Bytes | None

    @property
    def rows(self) -> int:
        return len(self.data)

    @property
    def format(self) -> tuple[object, ...]:
        """What matrices must share to be joined."""
        symmetric = self.zero_points is None
        return self.bits, self.block_size, self.columns, self.scales.dtype, symmetric


def from_integers(
    integers: Bytes, scales: NDArray[Any], zero_points: Bytes, *, bits: Bits, columns: int
) -> Blocks:
    """Pack integers [N, B, block_size] and zero points [N, B], which are left out if symmetric."""
    block_size = integers.shape[2]
    packed = pack(integers.reshape(-1, block_size), bits)
    data = packed.reshape(*integers.shape[:2], -1)
    symmetric = (zero_points == middle(bits)).all()
    packed_zeros = None if symmetric else pack(_even(zero_points, bits), bits)
    return Blocks(bits, block_size, columns, data, scales, packed_zeros)


def dequantize(blocks: Blocks) -> Floats:
    """The [N, K] float32 matrix that MatMulNBits multiplies with."""
    count = blocks.scales.shape[1]
    values = unpack(blocks.data, blocks.bits).astype(np.float32)  # [N, B, block_size]
    values -= _zero_points(blocks)[:, :count, None]
    values *= blocks.scales[:, :, None].astype(np.float32)
    return np.ascontiguousarray(values.reshape(blocks.rows, -1)[:, : blocks.columns])


def join(parts: Sequence[Blocks]) -> Blocks:
    """The matrices of one format below each other: [N1 + N2 + ..., K]."""
    first, zeros = parts[0], [part.zero_points for part in parts if part.zero_points is not None]
    if len(parts) == 1:
        return first
    return Blocks(
        first.bits,
        first.block_size,
        first.columns,
        np.concatenate([part.data for part in parts]),
        np.concatenate([part.scales for part in parts]),
        np.concatenate(zeros) if zeros else None,
    )


def pad_rows(blocks: Blocks, multiple: int) -> Blocks:
    """Symmetric blocks with rows of zeros below them, up to a multiple of rows."""
    missing = -blocks.rows % multiple
    if not missing or blocks.zero_points is not None:
        return blocks
    zero = np.uint8(middle(blocks.bits) * (1 if blocks.bits == 8 else 0x11))
    data = np.full((missing, *blocks.data.shape[1:]), zero)
    scales = np.zeros((missing, blocks.scales.shape[1]), blocks.scales.dtype)
    return replace(
        blocks,
        data=np.concatenate([blocks.data, data]),
        scales=np.concatenate([blocks.scales, scales]),
    )


def split_blocks(blocks: Blocks, block_size: int) -> Blocks:
    """The same symmetric matrix in smaller blocks, which share scales."""
    parts = blocks.block_size // block_size
    if parts < 2 or blocks.zero_points is not None:
        return blocks
    count = -(-blocks.columns // block_size)  # blocks of nothing but padding are left out
    data = blocks.data.reshape(blocks.rows, -1, block_size * blocks.bits // 8)[:, :count]
    scales = np.repeat(blocks.scales, parts, axis=1)[:, :count]
    return replace(
        blocks,
        block_size=block_size,
        data=np.ascontiguousarray(data),
        scales=np.ascontiguousarray(scales),
    )


def middle(bits: Bits) -> int:
    """The zero point that MatMulNBits takes where it is given none."""
    return 1 << bits - 1


def pack(integers: Bytes, bits: Bits) -> Bytes:
    """[..., n] integers -> [..., n * bits / 8] bytes, the earlier of two in the lower half."""
    return integers if bits == 8 else integers[..., 0::2] | integers[..., 1::2] << np.uint8(4)


def unpack(data: Bytes, bits: Bits) -> Bytes:
    """[..., n] bytes -> [..., n * 8 / bits] integers."""
    if bits == 8:
        return data
    return np.stack((data & 15, data >> 4), axis=-1).reshape(*data.shape[:-1], -1)


def _zero_points(blocks: Blocks) -> Bytes:
    if blocks.zero_points is None:
        return np.full((1, 1), middle(blocks.bits), np.uint8)
    return unpack(blocks.zero_points, blocks.bits)


def _even(zero_points: Bytes, bits: Bits) -> Bytes:
    odd = bits == 4 and zero_points.shape[1] % 2
    return np.pad(zero_points, ((0, 0), (0, 1))) if odd else zero_points
