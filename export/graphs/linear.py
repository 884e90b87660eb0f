"""A linear layer: its matrix in `weights.bin`, quantized or not, and the operator that uses it."""

from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from llava_edge.core.bundle_config import DeviceName, TensorRef
from llava_edge.export.graphs.graph_writer import MICROSOFT, Attribute, GraphWriter
from llava_edge.export.graphs.weights_bin import WeightsBin, dtype_of
from llava_edge.export.quantization.blocks import Blocks
from llava_edge.export.quantization.nf4 import Nf4
from llava_edge.export.quantization.precision import Matrix

# On a CPU the activations are quantized to 8 bits as well: 2-5 times faster.
_ACCURACY_LEVEL: dict[DeviceName, int] = {"cpu": 4, "gpu": 0}
FITTING_COLUMNS = 64  # a multiple of them, or CUDA's kernel has no variant for many rows (1.31)
_NF4 = 1  # MatMulBnb4's number for it


@dataclass(frozen=True)
class StoredBlocks:
    """Blocks in `weights.bin`."""

    bits: int
    block_size: int
    data: TensorRef
    scales: TensorRef
    zero_points: TensorRef | None


@dataclass(frozen=True)
class StoredNf4:
    """NF4 in `weights.bin`."""

    block_size: int
    data: TensorRef
    largest: TensorRef


@dataclass(frozen=True)
class StoredMatrix:
    """An [N, K] matrix in `weights.bin`; a bare reference is to floating-point numbers.

    Blocks may have rows of zeros below those of the matrix, which `multiply` leaves out.
    """

    rows: int
    columns: int
    parts: StoredBlocks | StoredNf4 | TensorRef

    @property
    def bits(self) -> int:
        """Bits of a weight, without its block's scale and zero point."""
        if isinstance(self.parts, TensorRef):
            return 8 * dtype_of(self.parts).itemsize
        return self.parts.bits if isinstance(self.parts, StoredBlocks) else 4

    @property
    def block_size(self) -> int:
        """How many neighbours in a row share a scale."""
        return 1 if isinstance(self.parts, TensorRef) else self.parts.block_size

    @property
    def size(self) -> int:
        """Bytes in all, with scales and zero points."""
        parts = self.parts
        if isinstance(parts, TensorRef):
            refs = [parts]
        elif isinstance(parts, StoredBlocks):
            refs = [parts.data, parts.scales, *([parts.zero_points] if parts.zero_points else [])]
        else:
            refs = [parts.data, parts.largest]
        return sum(prod(ref.shape) * dtype_of(ref).itemsize for ref in refs)


def store(weights: WeightsBin, matrix: Matrix) -> StoredMatrix:
    """Append a matrix."""
    put = weights.append
    if isinstance(matrix, Blocks):
        data, scales = put(matrix.data), put(matrix.scales)
        zeros = None if matrix.zero_points is None else put(matrix.zero_points)
        blocks = StoredBlocks(matrix.bits, matrix.block_size, data, scales, zeros)
        return StoredMatrix(matrix.rows, matrix.columns, blocks)
    if isinstance(matrix, Nf4):
        nf4 = StoredNf4(matrix.block_size, put(matrix.data), put(matrix.largest))
        return StoredMatrix(matrix.rows, matrix.columns, nf4)
    rows, columns = matrix.shape
    return StoredMatrix(rows, columns, put(matrix))


def multiply(
    graph: GraphWriter,
    name: str,
    rows: ir.Value,
    matrix: StoredMatrix,
    bias: ir.Value | None = None,
) -> ir.Value:
    """Rows [..., K] times the matrix transposed, plus the bias [N] -> [..., N]."""
    parts, fitting = matrix.parts, matrix.columns % FITTING_COLUMNS == 0
    if isinstance(parts, StoredBlocks) and graph.device == "gpu" and not fitting:
        # A bias, even one of zeros, keeps CUDA's fastest kernel away, which fails here.
        if bias is None:
            zeros = np.zeros(parts.data.shape[0], np.float32)
            bias = graph.constant(f"{name}.no_bias", lambda: zeros)
        return _multiply_blocks(graph, name, rows, matrix, parts, bias)
    # Inside MatMulNBits a bias is added for nothing, but CUDA's fastest kernel takes none.
    if isinstance(parts, StoredBlocks) and (bias is None or graph.device == "cpu"):
        return _multiply_blocks(graph, name, rows, matrix, parts, bias)
    product = name if bias is None else f"{name}.product"
    if isinstance(parts, StoredBlocks):
        value = _multiply_blocks(graph, product, rows, matrix, parts)
    elif isinstance(parts, StoredNf4):
        value = _multiply_nf4(graph, product, rows, matrix, parts)
    else:
        # Transposed while multiplying, so that a tied head can be the embedding table's bytes.
        data, transposed = graph.stored(f"{name}.weight", parts), {"transB": 1}
        value = graph.node(
            "FusedMatMul", product, rows, data, domain=MICROSOFT, attributes=transposed
        )
    return value if bias is None else graph.node("Add", name, value, bias)


def _multiply_blocks(
    graph: GraphWriter,
    name: str,
    rows: ir.Value,
    matrix: StoredMatrix,
    blocks: StoredBlocks,
    bias: ir.Value | None = None,
) -> ir.Value:
    zeros, count = blocks.zero_points, blocks.data.shape[0]
    inputs: list[ir.Value | None] = [
        rows,
        graph.stored(f"{name}.weight", blocks.data),
        graph.stored(f"{name}.scales", blocks.scales),
        None if zeros is None else graph.stored(f"{name}.zero_points", zeros),
    ]
    if bias is not None:
        inputs += [None, bias]
    attributes: dict[str, Attribute] = {
        "K": matrix.columns,
        "N": count,
        "bits": blocks.bits,
        "block_size": blocks.block_size,
        "accuracy_level": _ACCURACY_LEVEL[graph.device],
    }
    padded = count > matrix.rows
    product = f"{name}.padded" if padded else name
    value = graph.node("MatMulNBits", product, *inputs, domain=MICROSOFT, attributes=attributes)
    return graph.first(name, value, matrix.rows) if padded else value


def _multiply_nf4(
    graph: GraphWriter, name: str, rows: ir.Value, matrix: StoredMatrix, nf4: StoredNf4
) -> ir.Value:
    data = graph.stored(f"{name}.weight", nf4.data)
    largest = graph.stored(f"{name}.largest", nf4.largest)
    attributes: dict[str, Attribute] = {
        "K": matrix.columns,
        "N": matrix.rows,
        "block_size": nf4.block_size,
        "quant_type": _NF4,
    }
    return graph.node(
        "MatMulBnb4", name, rows, data, largest, domain=MICROSOFT, attributes=attributes
    )
