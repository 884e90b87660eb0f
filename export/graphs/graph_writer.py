"""Writes an ONNX graph node by node: values are made by calls, weights go to `weights.bin`.

A device's graph differs from another's in the type it computes in. Weights are stored once, in the
type that is best for them; a graph that computes in another casts them, which onnxruntime does
once, when it loads the graph.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from llava_edge.core.bundle_config import DeviceName
from llava_edge.export.graphs.weights_bin import Array, Stored, WeightsBin, dtype_of

OPSET = 20  # the first with Gelu
IR_VERSION = 9  # what opset 20 was released with
MICROSOFT = "com.microsoft"  # onnxruntime's own operators

FLOAT, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
INT8, INT32, INT64 = ir.DataType.INT8, ir.DataType.INT32, ir.DataType.INT64
COMPUTES_IN: dict[DeviceName, ir.DataType] = {"cpu": FLOAT, "gpu": HALF}
Attribute = int | float | str | Sequence[int] | ir.DataType
ValueShape = Sequence[int | str]


class GraphWriter:
    """One graph in the making, for one device."""

    def __init__(self, name: str, weights: WeightsBin, device: DeviceName) -> None:
        self.weights = weights
        self.device = device
        self.dtype = COMPUTES_IN[device]  # of all floating-point values
        self._name = name
        self._inputs: list[ir.Value] = []
        self._outputs: list[ir.Value] = []
        self._nodes: list[ir.Node] = []
        self._initializers: dict[str, ir.Value] = {}

    def input(self, name: str, dtype: ir.DataType, shape: ValueShape) -> ir.Value:
        """An input of the graph; a name in the shape stands for any size."""
        value = ir.val(name, dtype, shape)
        self._inputs.append(value)
        return value

    def float_input(self, name: str, shape: ValueShape) -> ir.Value:
        """A float32 input, in the type that the graph computes in."""
        return self._cast(f"{name}.computed", self.input(name, FLOAT, shape), FLOAT, self.dtype)

    def output(self, value: ir.Value, name: str, shape: ValueShape, dtype: ir.DataType) -> None:
        """Make a value an output of the graph, under that name."""
        value.name, value.dtype, value.shape = name, dtype, ir.Shape(shape)
        self._outputs.append(value)

    def float_output(self, value: ir.Value, name: str, shape: ValueShape) -> None:
        """Make a value a float32 output of the graph, under that name."""
        self.output(self._cast(f"{name}.float", value, self.dtype, FLOAT), name, shape, FLOAT)

    def constant(self, name: str, make: Callable[[], Array]) -> ir.Value:
        """A floating-point weight, made and stored once for all graphs."""
        return self.stored(name, self.weights.once(name, lambda: self.weights.put(make())))

    def stored(self, name: str, stored: Stored) -> ir.Value:
        """A weight that is stored already; floating-point ones as the graph computes in."""
        dtype = ir.DataType.from_numpy(dtype_of(stored))
        same = dtype == self.dtype or not dtype.is_floating_point()
        value = self._initializer(name if same else f"{name}.{dtype.name.lower()}", stored)
        return value if same else self._cast(name, value, dtype, self.dtype)

    def as_it_is(self, name: str, array: Array) -> ir.Value:
        """A constant of its own type, whatever the graph computes in."""
        return self._initializer(name, self.weights.once(name, lambda: self.weights.put(array)))

    def scaled(self, name: str, integers: Stored, scale: Stored) -> ir.Value:
        """A weight that is stored as integers, times the float32 scale."""
        # In float32, in which alone onnxruntime can multiply when it loads the graph.
        stored = self.stored(f"{name}.integers", integers)
        floats = self._cast(f"{name}.floats", stored, ir.DataType.INT8, FLOAT)
        product = self.node(
            "Mul", f"{name}.product", floats, self._initializer(f"{name}.scale", scale)
        )
        return self._cast(name, product, FLOAT, self.dtype)

    def integers(self, *values: int) -> ir.Value:
        """An int64 vector, made once for each content: what Reshape and Split take."""
        return self._initializer(
            "integers_" + "_".join(map(str, values)), np.array(values, np.int64)
        )

    def number(self, value: float) -> ir.Value:
        """A scalar, made once."""
        return self._initializer(f"number_{value}", np.array(value, self.dtype.numpy()))

    def first(self, name: str, value: ir.Value, count: int) -> ir.Value:
        """The first `count` values of the last axis."""
        bounds = (self.integers(0), self.integers(count), self.integers(-1))
        return self.node("Slice", name, value, *bounds)

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

    def _cast(self, name: str, value: ir.Value, old: ir.DataType, new: ir.DataType) -> ir.Value:
        return value if old == new else self.node("Cast", name, value, attributes={"to": new})

    def _initializer(self, name: str, stored: Stored) -> ir.Value:
        if name not in self._initializers:
            tensor = self.weights.tensor(name, stored)
            self._initializers[name] = ir.val(name, const_value=tensor)
        return self._initializers[name]
