"""NF4's numbers are bitsandbytes', and onnxruntime reads them as they were meant."""

import bitsandbytes.functional as bnb
import numpy as np
import pytest
import torch
from products import multiply_nf4

from llava_edge.export.quantization.nf4 import dequantize_nf4, quantize_nf4

SHAPES = pytest.mark.parametrize("shape", [(48, 128), (37, 50), (3, 1000)])
SIZES = pytest.mark.parametrize("block_size", [64, 128])


@SHAPES
@SIZES
def test_numbers_are_those_of_bitsandbytes(shape: tuple[int, int], block_size: int) -> None:
    weights = np.random.default_rng(0).standard_normal(shape, np.float32)
    weights[0] = 0
    ours = quantize_nf4(weights, block_size)
    data, state = bnb.quantize_4bit(torch.tensor(weights), blocksize=block_size, quant_type="nf4")
    np.testing.assert_array_equal(ours.data, data.numpy().reshape(-1))
    np.testing.assert_array_equal(ours.largest, state.absmax.numpy())
    np.testing.assert_array_equal(dequantize_nf4(ours), bnb.dequantize_4bit(data, state).numpy())


@SHAPES
def test_onnxruntime_multiplies_with_the_same_matrix(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    quantized = quantize_nf4(random.standard_normal(shape, np.float32))
    rows = random.standard_normal((5, shape[1]), np.float32)
    product = multiply_nf4(rows, quantized)
    np.testing.assert_allclose(product, rows @ dequantize_nf4(quantized).T, rtol=1e-4, atol=1e-4)


def test_pieces_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.random.default_rng(0).standard_normal((30, 50), np.float32)
    whole = quantize_nf4(weights)
    monkeypatch.setattr("llava_edge.export.quantization.nf4.CHUNK", 256)
    pieces = quantize_nf4(weights)
    np.testing.assert_array_equal(pieces.data, whole.data)
    np.testing.assert_array_equal(pieces.largest, whole.largest)
