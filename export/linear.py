"""A linear layer: its matrix in `weights.bin`, quantized or not, and the operator that uses it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from llava_edge.config import TensorRef
from llava_edge.export.graph import MICROSOFT, GraphWriter
from llava_edge.export.quantize import BLOCK, Bits, quantize
from llava_edge.export.weights import WeightFile

# The activations are quantized to 8 bits as well: 2-5 times faster on a CPU.
_INT8_ACTIVATIONS = 4


@dataclass(frozen=True)
class StoredBlocks:
    """What belongs to the integers of a `QuantizedMatrix`."""

    bits: Bits
    scales: TensorRef
    zero_points: TensorRef


@dataclass(frozen=True)
class StoredMatrix:
    """An [N, K] matrix in `weights.bin`: the integers of `blocks`, or float32 where it is None."""

    rows: int
    columns: int
    data: TensorRef
    blocks: StoredBlocks | None


def store(weights: WeightFile, matrix: NDArray[Any], bits: Bits | None) -> StoredMatrix:
    """Append an [N, K] matrix of any float type; `bits` None keeps it as float32."""
    rows, columns = matrix.shape
    if bits is None:
        data = weights.append(matrix.astype(np.float32, copy=False))
        return StoredMatrix(rows, columns, data, None)
    quantized = quantize(matrix, bits)
    data = weights.append(quantized.data)
    scales, zero_points = weights.append(quantized.scales), weights.append(quantized.zero_points)
    return StoredMatrix(rows, columns, data, StoredBlocks(bits, scales, zero_points))


def multiply(graph: GraphWriter, name: str, rows: ir.Value, matrix: StoredMatrix) -> ir.Value:
    """Rows [..., K] times the matrix transposed -> [..., N]."""
    data, blocks = graph.stored(f"{name}.weight", matrix.data), matrix.blocks
    if blocks is None:
        # Transposed while multiplying, so that a tied head can be the embedding table's bytes.
        transposed = {"transB": 1}
        return graph.node("FusedMatMul", name, rows, data, domain=MICROSOFT, attributes=transposed)
    scales = graph.stored(f"{name}.scales", blocks.scales)
    zero_points = graph.stored(f"{name}.zero_points", blocks.zero_points)
    attributes = {
        "K": matrix.columns,
        "N": matrix.rows,
        "bits": blocks.bits,
        "block_size": BLOCK,
        "accuracy_level": _INT8_ACTIVATIONS,
    }
    inputs = (rows, data, scales, zero_points)
    return graph.node("MatMulNBits", name, *inputs, domain=MICROSOFT, attributes=attributes)
