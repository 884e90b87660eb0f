"""What the graphs of all vision towers and projectors are written with."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from llava_edge.core.array_types import Floats
from llava_edge.core.bundle_config import DeviceName
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.graphs.graph_writer import GraphWriter
from llava_edge.export.graphs.linear import multiply, store
from llava_edge.export.graphs.weights_bin import Stored, WeightsBin
from llava_edge.export.quantization.precision import TowerFormat
from llava_edge.export.quantization.quantize import quantize

_HALF_MAX = float(np.finfo(np.float16).max)


class VisionWriter(GraphWriter):
    """A graph over a checkpoint's tensors; `tower` says how its matrices and kernels are stored."""

    def __init__(
        self,
        tensors: Mapping[str, LazyTensor],
        weights: WeightsBin,
        device: DeviceName,
        tower: TowerFormat,
    ) -> None:
        super().__init__("vision", weights, device)
        self._tensors = tensors
        self._tower = tower

    def read(self, name: str) -> Floats:
        return self._tensors[name].read().astype(np.float32)

    def has(self, name: str) -> bool:
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name].shape

    def vector(self, name: str) -> ir.Value:
        """A norm, a bias or a table, as float32."""
        return self.constant(name, lambda: self.read(name))

    def weight(self, name: str, make: Callable[[], Floats]) -> ir.Value:
        """A matrix or a kernel."""
        if self._tower == "int8":
            return self._channels(name, make)
        return self.constant(name, lambda: self._rounded(make()))

    def linear(self, name: str, rows: ir.Value, *modules: str) -> ir.Value:
        """Rows [..., K] -> [..., N], N the outputs of all the modules side by side."""

        def matrix() -> Floats:
            return np.concatenate([self.read(f"{module}.weight") for module in modules])

        def bias() -> Floats:
            return np.concatenate([self.read(f"{module}.bias") for module in modules])

        has_bias = self.has(f"{modules[0]}.bias")
        addend = self.constant(f"{name}.bias", bias) if has_bias else None
        if self._tower == "int8":
            stored = self.weights.once(name, lambda: store(self.weights, quantize(matrix(), 8)))
            return multiply(self, name, rows, stored, addend)
        transposed = self.weight(f"{name}.weight", lambda: np.ascontiguousarray(matrix().T))
        if addend is None:
            return self.node("MatMul", name, rows, transposed)
        product = self.node("MatMul", f"{name}.product", rows, transposed)
        return self.node("Add", name, product, addend)

    def layer_norm(self, name: str, rows: ir.Value, epsilon: float) -> ir.Value:
        scale, bias = self.vector(f"{name}.weight"), self.vector(f"{name}.bias")
        attributes = {"epsilon": epsilon}
        return self.node("LayerNormalization", name, rows, scale, bias, attributes=attributes)

    def to_rows(self, name: str, maps: ir.Value, channels: int) -> ir.Value:
        """Feature maps [n, C, h, w] -> rows [n, h * w, C], row by row of the map."""
        flat = self.node("Reshape", f"{name}.flat", maps, self.integers(0, channels, -1))
        return self.node("Transpose", name, flat, attributes={"perm": (0, 2, 1)})

    def _rounded(self, array: Floats) -> NDArray[np.floating]:
        """In 16 bits where that is asked for and holds the numbers."""
        half = self._tower == "fp16" and np.abs(array).max() <= _HALF_MAX
        return array.astype(np.float16) if half else array

    def _channels(self, name: str, make: Callable[[], Floats]) -> ir.Value:
        """Kernels [N, ...] as 8-bit integers with a scale each, undone when the graph is loaded."""

        def parts() -> tuple[Stored, Stored]:
            kernels = make()
            largest = np.abs(kernels).max(axis=tuple(range(1, kernels.ndim)), keepdims=True)
            scale = np.where(largest > 0, largest, np.float32(1)) / np.float32(127)
            integers = np.rint(kernels / scale).astype(np.int8)
            return self.weights.put(integers), self.weights.put(scale)

        integers, scale = self.weights.once(name, parts)
        return self.scaled(name, integers, scale)
