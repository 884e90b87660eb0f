"""Blocks of integers stay near the weights, and onnxruntime reads them as they were meant."""

import ml_dtypes
import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from llava_edge.export.quantize import BLOCK, Bits, QuantizedMatrix, dequantize, quantize

Array = NDArray[np.float32]
BOTH = pytest.mark.parametrize("bits", [4, 8])


def matrix(rows: int, columns: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((rows, columns), np.float32)


def block_errors(weights: Array, approximation: Array) -> Array:
    """The weighted squared error of each block."""
    blocks = weights.reshape(-1, BLOCK)
    importance = np.sqrt(np.mean(blocks**2, axis=1, keepdims=True)) + np.abs(blocks)
    errors = importance * (approximation.reshape(-1, BLOCK) - blocks) ** 2
    return errors.sum(axis=1)


def rounded_to_nearest(weights: Array, bits: int) -> Array:
    """Plain min-max quantization."""
    blocks, top = weights.reshape(-1, BLOCK), 2**bits - 1
    low = np.minimum(blocks.min(axis=1, keepdims=True), 0)
    scale = (np.maximum(blocks.max(axis=1, keepdims=True), 0) - low) / top
    zero = np.rint(-low / scale)
    integers = np.clip(np.rint(blocks / scale) + zero, 0, top)
    return ((integers - zero) * scale).reshape(weights.shape)


@BOTH
@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    offset=st.sampled_from([0.0, 0.5, -3.0]),
    power=st.sampled_from([1, 3, 5]),  # the higher, the heavier the tails
    magnitude=st.sampled_from([1e-6, 0.02, 1e4]),
)
def test_no_block_is_worse_than_rounded_to_nearest(
    bits: Bits, seed: int, offset: float, power: int, magnitude: float
) -> None:
    weights = ((matrix(7, 5 * BLOCK, seed) ** power + np.float32(offset)) * magnitude).astype("f4")
    found = block_errors(weights, dequantize(quantize(weights, bits)))
    plain = block_errors(weights, rounded_to_nearest(weights, bits))
    assert np.all(found <= plain * (1 + 1e-4))


def test_the_search_is_worth_its_time() -> None:
    weights = matrix(64, 8 * BLOCK)
    found = block_errors(weights, dequantize(quantize(weights, 4))).sum()
    assert found < 0.9 * block_errors(weights, rounded_to_nearest(weights, 4)).sum()


@BOTH
def test_a_block_of_equal_steps_is_kept(bits: Bits) -> None:
    top = 2**bits - 1
    random = np.random.default_rng(0)
    integers = random.integers(0, top + 1, (9, 3, BLOCK))
    integers[..., 0], integers[..., 1] = 0, top  # a block that uses its whole range
    zero = random.integers(0, top + 1, (9, 3, 1))
    scale = random.uniform(0.01, 0.1, (9, 3, 1))
    weights = ((integers - zero) * scale).astype(np.float32).reshape(9, -1)
    np.testing.assert_allclose(dequantize(quantize(weights, bits)), weights, rtol=1e-5, atol=1e-7)


@BOTH
@pytest.mark.parametrize("constant", [0.0, 0.37, -0.37, 1e-9, -65504.0])
def test_a_constant_block_is_kept(bits: Bits, constant: float) -> None:
    weights = np.full((3, 2 * BLOCK), constant, np.float32)
    np.testing.assert_allclose(dequantize(quantize(weights, bits)), weights, rtol=1e-6)


@BOTH
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_read_as_it_is(bits: Bits, dtype: type) -> None:
    half = matrix(5, 3 * BLOCK).astype(dtype)
    wide = quantize(half.astype(np.float32), bits)
    np.testing.assert_array_equal(dequantize(quantize(half, bits)), dequantize(wide))


def test_pieces_do_not_show() -> None:
    """A row's blocks are the same, however many rows are worked on with it."""
    weights = matrix(300, 20 * BLOCK)
    whole = quantize(weights, 4)
    for row in (0, 204, 205, 299):  # 204 rows are one piece
        alone = quantize(weights[row : row + 1], 4)
        np.testing.assert_array_equal(alone.data[0], whole.data[row])
        np.testing.assert_array_equal(alone.scales[0], whole.scales[row])
        np.testing.assert_array_equal(alone.zero_points[0], whole.zero_points[row])


@BOTH
@pytest.mark.parametrize("blocks", [1, 3, 4])  # odd: half a byte of zero points is left over
def test_onnxruntime_multiplies_with_the_same_matrix(bits: Bits, blocks: int) -> None:
    weights = matrix(13, blocks * BLOCK)
    quantized = quantize(weights, bits)
    rows = matrix(5, blocks * BLOCK, seed=1)
    product = multiply(rows, quantized)
    np.testing.assert_allclose(product, rows @ dequantize(quantized).T, rtol=1e-5, atol=1e-5)


def multiply(rows: Array, matrix: QuantizedMatrix) -> Array:
    """What MatMulNBits makes of it, with float32 activations."""
    inputs = ir.val("rows", ir.DataType.FLOAT, rows.shape)
    arrays = {"data": matrix.data, "scales": matrix.scales, "zero_points": matrix.zero_points}
    constants = []
    for name, array in arrays.items():
        tensor = ir.tensor(array, name=name)
        constants.append(ir.val(name, tensor.dtype, array.shape, const_value=tensor))
    output = ir.val("product", ir.DataType.FLOAT, (len(rows), len(matrix.data)))
    attributes = {
        "K": rows.shape[1],
        "N": len(matrix.data),
        "bits": matrix.bits,
        "block_size": BLOCK,
        "accuracy_level": 0,
    }
    node = ir.node(
        "MatMulNBits",
        [inputs, *constants],
        attributes,
        domain="com.microsoft",
        outputs=[output],
    )
    graph = ir.Graph(
        [inputs],
        [output],
        nodes=[node],
        initializers=constants,
        opset_imports={"": 20, "com.microsoft": 1},
        name="product",
    )
    model = ir.to_proto(ir.Model(graph, ir_version=9)).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    result: Array = session.run(None, {"rows": rows})[0]
    return result


def test_a_rest_of_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="33 columns"):
        quantize(matrix(2, 33), 4)
