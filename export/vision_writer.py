"""What the graphs of all vision towers and projectors are written with."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from llava_edge.export.checkpoint import LazyTensor
from llava_edge.export.graph import FLOAT, GraphWriter
from llava_edge.export.weights import WeightFile

_HALF_MAX = float(np.finfo(np.float16).max)

Array = NDArray[np.float32]


class VisionWriter(GraphWriter):
    """A float32 graph over a checkpoint's tensors; with `half`, matrices are stored as float16."""

    def __init__(
        self, tensors: Mapping[str, LazyTensor], weights: WeightFile, *, half: bool
    ) -> None:
        super().__init__("vision", weights)
        self._tensors = tensors
        self._half = half

    def read(self, name: str) -> Array:
        return self._tensors[name].read().astype(np.float32)

    def has(self, name: str) -> bool:
        return name in self._tensors

    def weight(self, name: str, array: Array) -> ir.Value:
        """A weight; onnxruntime undoes the cast of a float16 one once, when the graph is loaded."""
        if not self._half or array.ndim < 2 or np.abs(array).max() > _HALF_MAX:
            return self.constant(name, array)
        stored = self.constant(f"{name}.float16", array.astype(np.float16))
        return self.node("Cast", name, stored, attributes={"to": FLOAT})

    def linear(self, name: str, rows: ir.Value, *modules: str) -> ir.Value:
        """Rows [..., K] -> [..., N], N the outputs of all the modules side by side."""
        matrix = np.concatenate([self.read(f"{module}.weight") for module in modules])
        transposed = self.weight(f"{name}.weight", np.ascontiguousarray(matrix.T))
        product = self.node("MatMul", f"{name}.product", rows, transposed)
        if not self.has(f"{modules[0]}.bias"):
            return product
        bias = np.concatenate([self.read(f"{module}.bias") for module in modules])
        return self.node("Add", name, product, self.constant(f"{name}.bias", bias))

    def layer_norm(self, name: str, rows: ir.Value, epsilon: float) -> ir.Value:
        scale = self.constant(f"{name}.weight", self.read(f"{name}.weight"))
        bias = self.constant(f"{name}.bias", self.read(f"{name}.bias"))
        return self.node(
            "LayerNormalization", name, rows, scale, bias, attributes={"epsilon": epsilon}
        )

    def to_rows(self, name: str, maps: ir.Value, channels: int) -> ir.Value:
        """Feature maps [n, C, h, w] -> rows [n, h * w, C], row by row of the map."""
        flat = self.node("Reshape", f"{name}.flat", maps, self.integers(0, channels, -1))
        return self.node("Transpose", name, flat, attributes={"perm": (0, 2, 1)})
