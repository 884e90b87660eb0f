"""A weight matrix becomes blocks of 4- or 8-bit integers, each with its scale and zero point.

The layout is that of onnxruntime's MatMulNBits. The scale of a block is searched for, as
llama.cpp's k-quants do, so that the weighted squared error is smallest; the zero point stays an
integer throughout, so what is judged is what is stored.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

BLOCK = 32  # columns that share a scale and a zero point
Bits = Literal[4, 8]

_Float = NDArray[np.float32]
_CHUNK = 4096  # blocks worked on at once: a float32 array of them is half a megabyte, cache-sized
# A candidate spreads a block's range over this many steps more than the integers have.
_STRETCH: dict[Bits, tuple[float, ...]] = {
    4: (0.0, -2.4, -1.8, -1.2, -0.8, -0.4, 0.4, 0.8, 1.2, 1.8, 2.4),
    8: (0.0,),
}


@dataclass(frozen=True)
class QuantizedMatrix:
    """An [N, K] matrix as blocks along K: weight = (integer - zero point) * scale.

    `data` is [N, K / 32, 32 * bits / 8] uint8, `scales` [N, K / 32] float32 and `zero_points`
    [N, ceil(K / 32 * bits / 8)] uint8; of two 4-bit values in a byte the first is the lower half.
    """

    bits: Bits
    data: NDArray[np.uint8]
    scales: _Float
    zero_points: NDArray[np.uint8]


def quantize(matrix: NDArray[np.floating], bits: Bits) -> QuantizedMatrix:
    """Quantize an [N, K] matrix of any float type, K a multiple of 32.

    A weight's error counts sqrt(mean(block²)) + |weight| times.
    """
    rows, columns = matrix.shape
    if columns % BLOCK:
        raise ValueError(f"{columns} columns cannot be cut into blocks of {BLOCK}.")
    blocks = columns // BLOCK
    data = np.empty((rows, blocks, BLOCK * bits // 8), np.uint8)
    scales = np.empty((rows, blocks), np.float32)
    zero_points = np.empty((rows, blocks), np.uint8)

    def work(start: int) -> None:
        part = slice(start, start + step)
        values = np.ascontiguousarray(matrix[part].reshape(-1, BLOCK).T, np.float32)  # [32, B]
        found = _search(values, bits)
        data[part] = _pack(found.integers, bits).T.reshape(-1, blocks, data.shape[2])
        scales[part] = found.scale.reshape(-1, blocks)
        zero_points[part] = found.zero_point.reshape(-1, blocks)

    step = max(1, _CHUNK // blocks)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(work, range(0, rows, step)))
    return QuantizedMatrix(bits, data, scales, _pack_zero_points(zero_points, bits))


def dequantize(matrix: QuantizedMatrix) -> _Float:
    """The [N, K] float32 matrix that MatMulNBits multiplies with."""
    rows, blocks = matrix.scales.shape
    integers = _unpack(matrix.data, matrix.bits).astype(np.float32)  # [N, K / 32, 32]
    zero_points = _unpack(matrix.zero_points, matrix.bits)[:, :blocks, None]
    return ((integers - zero_points) * matrix.scales[:, :, None]).reshape(rows, -1)


@dataclass(frozen=True)
class _Found:
    integers: NDArray[np.uint8]  # [32, B]
    scale: _Float  # [B]
    zero_point: _Float  # [B], whole numbers


def _search(values: _Float, bits: Bits) -> _Found:
    """Try a few scales for each block of values [32, B], refit each, keep the best."""
    top = np.float32(2**bits - 1)
    weights = np.abs(values)
    weights += np.sqrt(np.mean(np.square(values), axis=0))
    weighted = weights * values
    low, high = np.minimum(values.min(axis=0), 0), np.maximum(values.max(axis=0), 0)
    width: _Float = np.where(high > low, high - low, np.float32(1))
    steps, scratch = np.empty_like(values), np.empty_like(values)

    best_gain = np.full(width.shape, -1, np.float32)
    best_scale, best_zero = np.zeros_like(width), np.zeros_like(width)
    for stretch in _STRETCH[bits]:
        inverse: _Float = (top + np.float32(stretch)) / width
        zero = np.clip(np.rint(-low * inverse - np.float32(stretch / 2)), 0, top)
        _round(values, inverse, zero, top, out=steps)
        scale, gain = _fit(steps, weighted, weights, scratch)
        better = gain > best_gain
        best_gain = np.where(better, gain, best_gain)
        best_scale = np.where(better, scale, best_scale)
        best_zero = np.where(better, zero, best_zero)

    # With the scale refitted, another integer may be nearer; then the scale can be refitted again.
    inverse = np.reciprocal(np.where(best_scale > 0, best_scale, np.float32(1)))
    _round(values, inverse, best_zero, top, out=steps)
    scale, _ = _fit(steps, weighted, weights, scratch)
    steps += best_zero
    return _Found(steps.astype(np.uint8), scale, best_zero)


def _round(values: _Float, inverse: _Float, zero: _Float, top: np.float32, *, out: _Float) -> None:
    """The integers less the zero point: the nearest steps that 0..top reaches."""
    np.multiply(values, inverse, out=out)
    np.rint(out, out=out)
    np.maximum(out, -zero, out=out)
    np.minimum(out, top - zero, out=out)


def _fit(
    steps: _Float, weighted: _Float, weights: _Float, scratch: _Float
) -> tuple[_Float, _Float]:
    """The scale with the least weighted squared error, and by how much it beats a scale of 0."""
    product = np.add.reduce(np.multiply(steps, weighted, out=scratch), axis=0)
    np.multiply(steps, steps, out=scratch)
    square = np.add.reduce(np.multiply(scratch, weights, out=scratch), axis=0)
    scale = np.divide(product, square, out=np.zeros_like(product), where=square > 0)
    return scale, scale * product


def _pack(integers: NDArray[np.uint8], bits: Bits) -> NDArray[np.uint8]:
    """[n, B] integers -> [n * bits / 8, B] bytes, the earlier of two in the lower half."""
    return integers if bits == 8 else integers[0::2] | integers[1::2] << np.uint8(4)


def _unpack(data: NDArray[np.uint8], bits: Bits) -> NDArray[np.uint8]:
    """[..., n] bytes -> [..., n * 8 / bits] integers."""
    if bits == 8:
        return data
    return np.stack((data & 15, data >> 4), axis=-1).reshape(*data.shape[:-1], -1)


def _pack_zero_points(zero_points: NDArray[np.uint8], bits: Bits) -> NDArray[np.uint8]:
    odd = bits == 4 and zero_points.shape[1] % 2
    even = np.pad(zero_points, ((0, 0), (0, 1))) if odd else zero_points
    return np.ascontiguousarray(_pack(even.T, bits).T)
