"""Blocks of integers are those of the reference, and onnxruntime reads them as they were meant."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnxruntime.capi._pybind_state import quantize_matmul_4bits, quantize_matmul_8bits
from onnxruntime.quantization.neural_compressor.weight_only import quant_tensor_k_quant_cpu
from products import multiply

from llava_edge.export.quantization.blocks import (
    Bits,
    Blocks,
    dequantize,
    from_integers,
    join,
    middle,
    pad_rows,
    split_blocks,
    unpack,
)
from llava_edge.export.quantization.quantize import quantize
from llava_edge.export.quantization.schemes import Scheme

Array = NDArray[np.float32]
BLOCK = 32
BITS = pytest.mark.parametrize("bits", [4, 8])
SYMMETRIC = pytest.mark.parametrize("symmetric", [False, True], ids=["zero points", "symmetric"])
SCHEMES = pytest.mark.parametrize("scheme", ["kquant", "rtn"])
SIZES = pytest.mark.parametrize("block_size", [16, 32, 64, 128, 256])


def matrix(rows: int, columns: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((rows, columns), np.float32)


def block_errors(weights: Array, approximation: Array, block_size: int = BLOCK) -> Array:
    """The weighted squared error of each block."""
    blocks = weights.reshape(-1, block_size)
    importance = np.sqrt(np.mean(blocks**2, axis=1, keepdims=True)) + np.abs(blocks)
    errors = importance * (approximation.reshape(-1, block_size) - blocks) ** 2
    return errors.sum(axis=1)


def k_quant(values: NDArray[np.float64], bits: int, symmetric: bool) -> NDArray[np.float64]:
    """One block, plainly: every candidate range is tried, its scale refitted, the best kept."""
    top, middle = 2**bits - 1, 2.0 ** (bits - 1)
    peak = values[np.abs(values).argmax()]
    weights = np.sqrt(np.mean(values**2)) + np.abs(values)
    low, high = min(values.min(), 0.0), max(values.max(), 0.0)

    def fit(inverse: float, zero: float) -> tuple[float, float]:
        steps = np.clip(np.rint(values * inverse), -zero, top - zero)
        square = np.sum(weights * steps * steps)
        scale = np.sum(weights * steps * values) / square if square else 0.0
        return scale, np.sum(weights * (steps * scale - values) ** 2)

    found = []
    for stretch in (0.0, -2.4, -1.8, -1.2, -0.8, -0.4, 0.4, 0.8, 1.2, 1.8, 2.4)[
        : 11 if bits == 4 else 1
    ]:
        if symmetric:
            inverse, zero = -(middle + stretch / 2) / peak, middle
        else:
            inverse = (top + stretch) / (high - low)
            zero = float(np.clip(np.rint(-low * inverse - stretch / 2), 0, top))
        scale, error = fit(inverse, zero)
        found.append((error, scale, zero))
    _, scale, zero = min(found, key=lambda one: one[0])
    scale, _ = fit(1 / scale, zero)
    half = float(np.float16(scale))
    return np.clip(np.rint(values / half), -zero, top - zero) * half


@BITS
@SIZES
@SYMMETRIC
def test_kquant_is_the_plain_search(bits: Bits, block_size: int, symmetric: bool) -> None:
    weights = matrix(24, 2 * block_size) ** 3
    found = quantize(weights, bits, block_size, symmetric=symmetric)
    ours = dequantize(found).reshape(-1, block_size)
    blocks = weights.reshape(-1, block_size).astype(np.float64)
    plain = np.stack([k_quant(block, bits, symmetric) for block in blocks])
    same = np.isclose(ours, plain, atol=1e-6 * np.abs(weights).max()).all(axis=1)
    assert same.mean() > 0.95  # two candidates that are equally good may be told apart by rounding
    np.testing.assert_allclose(
        block_errors(weights, ours, block_size),
        block_errors(weights, plain.astype(np.float32), block_size),
        rtol=0.02,
    )


def test_kquant_beats_onnxruntimes_own() -> None:
    """Whose zero points are rounded only after the search."""
    weights = matrix(64, 8 * BLOCK)
    integers, scale, zero = quant_tensor_k_quant_cpu(weights, 4, BLOCK)
    theirs = ((integers - zero) * scale).astype(np.float32)
    ours = block_errors(weights, dequantize(quantize(weights, 4)))
    assert ours.sum() < 0.98 * block_errors(weights, theirs).sum()


@SIZES
@BITS
def test_symmetric_rtn_is_onnxruntimes(bits: Bits, block_size: int) -> None:
    weights = matrix(9, 3 * block_size)
    ours = quantize(weights, bits, block_size, "rtn", symmetric=True)
    assert ours.zero_points is None
    data, scales = np.zeros_like(ours.data), np.zeros(ours.scales.shape, np.float32)
    theirs = quantize_matmul_4bits if bits == 4 else quantize_matmul_8bits
    transposed, unused = np.ascontiguousarray(weights.T), np.zeros(0, np.uint8)
    theirs(data, transposed, scales, unused, block_size, 9, 3 * block_size, True)
    np.testing.assert_array_equal(ours.data, data)
    np.testing.assert_array_equal(ours.scales, scales.astype(np.float16))


@SIZES
@BITS
def test_rtn_is_onnxruntimes(bits: Bits, block_size: int) -> None:
    weights = matrix(9, 3 * block_size)
    ours = quantize(weights, bits, block_size, "rtn")
    assert ours.zero_points is not None
    data, zero_points = np.zeros_like(ours.data), np.zeros_like(ours.zero_points)
    scales = np.zeros(ours.scales.shape, np.float32)
    theirs = quantize_matmul_4bits if bits == 4 else quantize_matmul_8bits
    transposed = np.ascontiguousarray(weights.T)
    theirs(data, transposed, scales, zero_points, block_size, 9, 3 * block_size, False)
    np.testing.assert_array_equal(ours.data, data)
    np.testing.assert_array_equal(ours.scales, scales.astype(np.float16))
    np.testing.assert_array_equal(
        unpack(ours.zero_points, bits)[:, :3], unpack(zero_points, bits)[:, :3]
    )


@BITS
@SYMMETRIC
@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    offset=st.sampled_from([0.0, 0.5, -3.0]),
    power=st.sampled_from([1, 3, 5]),  # the higher, the heavier the tails
    magnitude=st.sampled_from([1e-2, 0.02, 1e2]),
)
def test_no_block_is_worse_than_rounded_to_nearest(
    bits: Bits, symmetric: bool, seed: int, offset: float, power: int, magnitude: float
) -> None:
    weights = ((matrix(7, 5 * BLOCK, seed) ** power + np.float32(offset)) * magnitude).astype("f4")
    found, plain = (
        block_errors(
            weights, dequantize(quantize(weights, bits, BLOCK, scheme, symmetric=symmetric))
        )
        for scheme in ("kquant", "rtn")
    )
    # Where rounding to nearest is already best, the rounding of its scale to float16 is luck.
    assert np.all(found <= plain * (1.02 if bits == 4 else 1.2))


def test_the_search_is_worth_its_time() -> None:
    weights = matrix(64, 8 * BLOCK)
    found = block_errors(weights, dequantize(quantize(weights, 4))).sum()
    plain = dequantize(quantize(weights, 4, BLOCK, "rtn"))
    assert found < 0.9 * block_errors(weights, plain).sum()


@SCHEMES
@BITS
def test_a_block_of_equal_steps_is_kept(bits: Bits, scheme: Scheme) -> None:
    top = 2**bits - 1
    random = np.random.default_rng(0)
    integers = random.integers(0, top + 1, (9, 3, BLOCK))
    integers[..., 0], integers[..., 1] = 0, top  # a block that uses its whole range
    zero = random.integers(0, top + 1, (9, 3, 1))
    scale = random.uniform(0.01, 0.1, (9, 3, 1)).astype(np.float16).astype(np.float64)
    weights = ((integers - zero) * scale).astype(np.float32).reshape(9, -1)
    kept = dequantize(quantize(weights, bits, BLOCK, scheme))
    np.testing.assert_allclose(kept, weights, rtol=1e-5, atol=1e-7)


@SCHEMES
@BITS
@SYMMETRIC
@pytest.mark.parametrize("constant", [0.0, 0.37, -0.37, 1e-9, -65504.0])
def test_a_constant_block_is_kept(
    bits: Bits, constant: float, scheme: Scheme, symmetric: bool
) -> None:
    weights = np.full((3, 2 * BLOCK), constant, np.float32)
    kept = dequantize(quantize(weights, bits, BLOCK, scheme, symmetric=symmetric))
    np.testing.assert_allclose(kept, weights, rtol=1e-3, atol=1e-7)


def test_a_scale_beyond_float16_is_refused() -> None:
    with pytest.raises(OverflowError, match="weights up to 2e"):
        quantize(np.full((1, BLOCK), 2e6, np.float32), 4)


@BITS
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_read_as_it_is(bits: Bits, dtype: type) -> None:
    half = matrix(5, 3 * BLOCK).astype(dtype)
    wide = quantize(half.astype(np.float32), bits)
    np.testing.assert_array_equal(dequantize(quantize(half, bits)), dequantize(wide))


def test_pieces_do_not_show() -> None:
    """A row's blocks are the same, however many rows are worked on with it."""
    weights = matrix(300, 20 * BLOCK)
    whole = quantize(weights, 4)
    for row in (0, 203, 204, 299):  # 204 rows are one piece
        alone = quantize(weights[row : row + 1], 4)
        np.testing.assert_array_equal(alone.data[0], whole.data[row])
        np.testing.assert_array_equal(alone.scales[0], whole.scales[row])
        assert alone.zero_points is not None and whole.zero_points is not None
        np.testing.assert_array_equal(alone.zero_points[0], whole.zero_points[row])


@BITS
@SIZES
@SYMMETRIC
@pytest.mark.parametrize("columns", [32, 96, 150, 256])  # a rest of a block, odd numbers of blocks
def test_onnxruntime_multiplies_with_the_same_matrix(
    bits: Bits, block_size: int, columns: int, symmetric: bool
) -> None:
    weights = matrix(13, columns)
    quantized = quantize(weights, bits, block_size, symmetric=symmetric)
    assert dequantize(quantized).shape == weights.shape
    rows = matrix(5, columns, seed=1)
    product = multiply(rows, quantized)
    np.testing.assert_allclose(product, rows @ dequantize(quantized).T, rtol=1e-5, atol=1e-5)


@BITS
@SYMMETRIC
def test_joined_matrices_lie_below_each_other(bits: Bits, symmetric: bool) -> None:
    parts: list[Blocks] = [
        quantize(matrix(rows, 80, rows), bits, symmetric=symmetric) for rows in (3, 5)
    ]
    expected = np.concatenate([dequantize(part) for part in parts])
    np.testing.assert_array_equal(dequantize(join(parts)), expected)


@BITS
def test_symmetric_blocks_are_known_by_their_zero_points(bits: Bits) -> None:
    """As in GPTQ's checkpoints, which hold the middle for each block."""
    plain = quantize(matrix(5, 96), bits, 32, symmetric=True)
    integers = unpack(plain.data, bits)
    zeros = np.full(plain.scales.shape, middle(bits), np.uint8)
    again = from_integers(integers, plain.scales, zeros, bits=bits, columns=96)
    assert again.zero_points is None
    np.testing.assert_array_equal(dequantize(again), dequantize(plain))


@BITS
@pytest.mark.parametrize("columns", [128, 160, 70])
def test_symmetric_blocks_can_be_split(bits: Bits, columns: int) -> None:
    whole = quantize(matrix(6, columns), bits, 128, symmetric=True)
    split = split_blocks(whole, 32)
    assert (split.block_size, split.scales.shape) == (32, (6, -(-columns // 32)))
    np.testing.assert_array_equal(dequantize(split), dequantize(whole))
    rows = matrix(3, columns, seed=1)
    np.testing.assert_allclose(multiply(rows, split), multiply(rows, whole), atol=1e-4)


@BITS
def test_rows_of_zeros_can_stand_below(bits: Bits) -> None:
    plain = quantize(matrix(6, 96), bits, 32, symmetric=True)
    padded = pad_rows(plain, 8)
    np.testing.assert_array_equal(dequantize(padded)[:6], dequantize(plain))
    np.testing.assert_array_equal(dequantize(padded)[6:], np.zeros((2, 96)))
    assert pad_rows(padded, 8) is padded
