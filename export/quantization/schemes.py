"""How the integers, scale and zero point of a block are found.

Zero points are integers throughout and scales are rounded to float16 before the last rounding of
the weights, so that what is judged is what is stored. A symmetric block has the middle of the
integers for its zero point, and a scale of either sign, so that its largest weight can fall on the
end that reaches further.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llava_edge.core.array_types import Floats
from llava_edge.export.quantization.blocks import Bits, Bytes, middle

Scheme = Literal["kquant", "rtn"]

# A candidate spreads a block's range over this many steps more than the integers have.
_STRETCH: dict[Bits, tuple[float, ...]] = {
    4: (0.0, -2.4, -1.8, -1.2, -0.8, -0.4, 0.4, 0.8, 1.2, 1.8, 2.4),
    8: (0.0,),
}


@dataclass(frozen=True)
class Found:
    """What stands for values [block_size, B]: (integers - zero_point) * scale."""

    integers: Bytes  # [block_size, B]
    scale: NDArray[np.float16]  # [B]
    zero_point: Bytes  # [B]


def rtn(values: Floats, bits: Bits, symmetric: bool) -> Found:
    """Round to nearest: the block's range, zero included, is spread evenly over the integers.

    As onnxruntime's own quantizer does (MLAS, `quantize_matmul_4bits`).
    """
    top = np.float32(2**bits - 1)
    if symmetric:
        scale: Floats = _peak(values) / np.float32(-middle(bits))
    else:
        low, high = _range(values)
        scale = (high - low) / top
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale != 0)
    zero = np.full_like(scale, middle(bits)) if symmetric else _half_up(-low * inverse)
    integers = np.clip(_half_up(values * inverse + zero), 0, top)
    return Found(integers.astype(np.uint8), _half(scale), zero.astype(np.uint8))


def kquant(values: Floats, bits: Bits, symmetric: bool) -> Found:
    """Search for the scale with the least weighted squared error, as llama.cpp's k-quants do.

    A weight's error counts sqrt(mean(block²)) + |weight| times. Of a few scales each is refitted to
    the integers that it leads to, and the best is kept.
    """
    top = np.float32(2**bits - 1)
    weights = np.abs(values)
    weights += np.sqrt(np.mean(np.square(values), axis=0))
    weighted = weights * values
    steps, scratch = np.empty_like(values), np.empty_like(values)

    best_gain = np.full(values.shape[1], -1, np.float32)
    best_scale, best_zero = np.zeros_like(best_gain), np.zeros_like(best_gain)
    for inverse, zero in (_symmetric if symmetric else _asymmetric)(values, bits):
        _round(values, inverse, zero, top, out=steps)
        scale, gain = _fit(steps, weighted, weights, scratch)
        better = gain > best_gain
        best_gain = np.where(better, gain, best_gain)
        best_scale = np.where(better, scale, best_scale)
        best_zero = np.where(better, zero, best_zero)

    # With the scale refitted, another integer may be nearer; then the scale can be refitted again.
    _round(values, _inverse(best_scale), best_zero, top, out=steps)
    scale, _ = _fit(steps, weighted, weights, scratch)
    half = _half(scale)
    _round(values, _inverse(half.astype(np.float32)), best_zero, top, out=steps)
    steps += best_zero
    return Found(steps.astype(np.uint8), half, best_zero.astype(np.uint8))


SCHEMES: dict[Scheme, Callable[[Floats, Bits, bool], Found]] = {"kquant": kquant, "rtn": rtn}


def _asymmetric(values: Floats, bits: Bits) -> Iterator[tuple[Floats, Floats]]:
    """Candidates: how many steps there are to 1, and the zero point."""
    top = np.float32(2**bits - 1)
    low, high = _range(values)
    width: Floats = np.where(high > low, high - low, np.float32(1))
    for stretch in _STRETCH[bits]:
        inverse: Floats = (top + np.float32(stretch)) / width
        yield inverse, np.clip(np.rint(-low * inverse - np.float32(stretch / 2)), 0, top)


def _symmetric(values: Floats, bits: Bits) -> Iterator[tuple[Floats, Floats]]:
    """The same, the largest weight falling on the lowest integer or near it."""
    peak, zero = _peak(values), np.full(values.shape[1], middle(bits), np.float32)
    safe: Floats = np.where(peak != 0, peak, np.float32(1))
    for stretch in _STRETCH[bits]:
        yield -np.float32(middle(bits) + stretch / 2) / safe, zero


def _range(values: Floats) -> tuple[Floats, Floats]:
    """The least and the largest of each block, zero included."""
    return np.minimum(values.min(axis=0), 0), np.maximum(values.max(axis=0), 0)


def _peak(values: Floats) -> Floats:
    """The value of the largest magnitude in each block."""
    low, high = values.min(axis=0), values.max(axis=0)
    peak: Floats = np.where(high > -low, high, low)
    return peak


def _half(scale: Floats) -> NDArray[np.float16]:
    """As float16; infinite where that is too small, which `quantize` refuses."""
    with np.errstate(over="ignore"):
        return scale.astype(np.float16)


def _half_up(values: Floats) -> Floats:
    """Non-negative numbers rounded, halves away from zero."""
    rounded: Floats = np.floor(values + np.float32(0.5))
    return rounded


def _inverse(scale: Floats) -> Floats:
    return np.reciprocal(np.where(scale != 0, scale, np.float32(1)))


def _round(values: Floats, inverse: Floats, zero: Floats, top: np.float32, *, out: Floats) -> None:
    """The integers less the zero point: the nearest steps that 0..top reaches."""
    np.multiply(values, inverse, out=out)
    np.rint(out, out=out)
    np.maximum(out, -zero, out=out)
    np.minimum(out, top - zero, out=out)


def _fit(
    steps: Floats, weighted: Floats, weights: Floats, scratch: Floats
) -> tuple[Floats, Floats]:
    """The scale with the least weighted squared error, and by how much it beats a scale of 0."""
    product = np.add.reduce(np.multiply(steps, weighted, out=scratch), axis=0)
    np.multiply(steps, steps, out=scratch)
    square = np.add.reduce(np.multiply(scratch, weights, out=scratch), axis=0)
    scale = np.divide(product, square, out=np.zeros_like(product), where=square > 0)
    return scale, scale * product
