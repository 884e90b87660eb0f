"""Writes an ONNX graph node by node: values are made by calls, weights go to `weights.bin`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from llava_edge.config import TensorRef
from llava_edge.export.weights import WeightFile

OPSET = 20  # the first with Gelu
IR_VERSION = 9  # what opset 20 was released with
MICROSOFT = "com.microsoft"  # onnxruntime's own operators

FLOAT, INT32, INT64 = ir.DataType.FLOAT, ir.DataType.INT32, ir.DataType.INT64
Attribute = int | float | str | Sequence[int] | ir.DataType
Shape = Sequence[int | str]


class GraphWriter:
    """One graph in the making."""

    def __init__(self, name: str, weights: WeightFile) -> None:
        self.weights = weights
        self._name = name
        self._inputs: list[ir.Value] = []
        self._outputs: list[ir.Value] = []
        self._nodes: list[ir.Node] = []
        self._initializers: dict[str, ir.Value] = {}

    def input(self, name: str, dtype: ir.DataType, shape: Shape) -> ir.Value:
        """An input of the graph; a name in the shape stands for any size."""
        value = ir.val(name, dtype, shape)
        self._inputs.append(value)
        return value

    def output(self, value: ir.Value, name: str, dtype: ir.DataType, shape: Shape) -> None:
        """Make a value an output of the graph, under that name."""
        value.name, value.dtype, value.shape = name, dtype, ir.Shape(shape)
        self._outputs.append(value)

    def constant(self, name: str, array: NDArray[Any]) -> ir.Value:
        """A weight, inline or in `weights.bin`."""
        return self._initializer(name, self.weights.tensor(name, array))

    def stored(self, name: str, ref: TensorRef) -> ir.Value:
        """A weight whose bytes lie in `weights.bin` already."""
        return self._initializer(name, self.weights.refer(name, ref))

    def integers(self, *values: int) -> ir.Value:
        """An int64 vector, made once for each content: what Reshape and Split take."""
        name = "integers_" + "_".join(map(str, values))
        if name not in self._initializers:
            self.constant(name, np.array(values, np.int64))
        return self._initializers[name]

    def number(self, value: float) -> ir.Value:
        """A float32 scalar, made once."""
        name = f"number_{value}"
        if name not in self._initializers:
            self.constant(name, np.array(value, np.float32))
        return self._initializers[name]

    def node(
        self,
        op_type: str,
        name: str,
        *inputs: ir.Value | None,
        domain: str = "",
        attributes: Mapping[str, Attribute] | None = None,
    ) -> ir.Value:
        """Append a node with one output, which bears the node's name."""
        return self.nodes(op_type, [name], *inputs, domain=domain, attributes=attributes)[0]

    def nodes(
        self,
        op_type: str,
        names: Sequence[str],
        *inputs: ir.Value | None,
        domain: str = "",
        attributes: Mapping[str, Attribute] | None = None,
    ) -> Sequence[ir.Value]:
        """Append a node with an output for each name; an empty name is an output left out."""
        outputs = [ir.val(name) for name in names]
        name = f"{names[0]}/{op_type}"
        node = ir.node(op_type, inputs, attributes, domain=domain, outputs=outputs, name=name)
        self._nodes.append(node)
        return outputs

    def save(self, path: Path) -> None:
        """Write the graph beside `weights.bin`."""
        graph = ir.Graph(
            self._inputs,
            self._outputs,
            nodes=self._nodes,
            initializers=list(self._initializers.values()),
            opset_imports={"": OPSET, MICROSOFT: 1},
            name=self._name,
        )
        ir.save(ir.Model(graph, ir_version=IR_VERSION, producer_name="llava-edge"), path)

    def _initializer(self, name: str, tensor: ir.TensorProtocol) -> ir.Value:
        value = ir.val(name, const_value=tensor)
        self._initializers[name] = value
        return value
