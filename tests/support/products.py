"""What onnxruntime's operators make of quantized matrices, each in a graph of its own."""

from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from llava_edge.export.quantization.blocks import Blocks
from llava_edge.export.quantization.nf4 import Nf4

Array = NDArray[np.float32]


def multiply(rows: Array, matrix: Blocks) -> Array:
    """MatMulNBits, with float32 activations."""
    arrays = {"data": matrix.data, "scales": matrix.scales.astype(np.float32)}
    if matrix.zero_points is not None:
        arrays["zero_points"] = matrix.zero_points
    attributes = {
        "K": matrix.columns,
        "N": matrix.rows,
        "bits": matrix.bits,
        "block_size": matrix.block_size,
        "accuracy_level": 0,
    }
    return _run("MatMulNBits", rows, matrix.rows, arrays, attributes)


def multiply_nf4(rows: Array, matrix: Nf4) -> Array:
    """MatMulBnb4."""
    arrays = {"data": matrix.data, "largest": matrix.largest}
    attributes = {
        "K": matrix.columns,
        "N": matrix.rows,
        "block_size": matrix.block_size,
        "quant_type": 1,
    }
    return _run("MatMulBnb4", rows, matrix.rows, arrays, attributes)


def _run(
    op_type: str,
    rows: Array,
    outputs: int,
    arrays: dict[str, NDArray[Any]],
    attributes: dict[str, int],
) -> Array:
    inputs = ir.val("rows", ir.DataType.FLOAT, rows.shape)
    output = ir.val("product", ir.DataType.FLOAT, (len(rows), outputs))
    constants = []
    for name, array in arrays.items():
        tensor = ir.tensor(array, name=name)
        constants.append(ir.val(name, tensor.dtype, array.shape, const_value=tensor))
    node = ir.node(
        op_type, [inputs, *constants], attributes, domain="com.microsoft", outputs=[output]
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
