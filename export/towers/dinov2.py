"""DINOv2's vision transformer (Oquab et al., arXiv 2304.07193), as transformers computes it."""

import re
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from llava_edge.core.strict import Section
from llava_edge.export.graphs.weights_bin import Array
from llava_edge.export.towers.vision_tower import (
    TOWER,
    Shapes,
    linear_shapes,
    norm_shapes,
)
from llava_edge.export.towers.vision_writer import VisionWriter
from llava_edge.export.towers.vit import EMBEDDINGS, Vit
from llava_edge.export.towers.vit_parts import activation, attention, patches, with_class_token
from llava_edge.hub.preprocessor_config import UsualPreprocessing

_PATCHES = f"{EMBEDDINGS}.patch_embeddings.projection"
_POSITIONS = f"{EMBEDDINGS}.position_embeddings"
_CUBIC = -0.75  # torch's coefficient of bicubic interpolation
# transformers' names in memory since its release 5.
_IN_MEMORY = re.compile(rf"({TOWER}\.encoder\.layer\.\d+\.attention)\.([qkvo])_proj\.(.*)")
_ON_DISK = {
    "q": "attention.query",
    "k": "attention.key",
    "v": "attention.value",
    "o": "output.dense",
}


@dataclass(frozen=True)
class Dinov2Tower(Vit):
    """A DINOv2 vision transformer; its positions are interpolated to the pictures it is shown."""

    trained_size: int  # of the pictures that its positions were trained on
    mlp_ratio: float
    qkv_bias: bool
    swiglu: bool  # intermediate_size is then what its last layer takes

    model_type: ClassVar[str] = "dinov2"
    usual: ClassVar[UsualPreprocessing] = UsualPreprocessing(
        (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), any_size=True
    )
    unused: ClassVar[tuple[str, ...]] = (f"{TOWER}.layernorm.", f"{EMBEDDINGS}.mask_token")

    @classmethod
    def read(cls, vision: Section) -> Self:
        swiglu = vision.flag("use_swiglu_ffn", False)
        ratio = vision.number("mlp_ratio", 4)
        inner = int(vision.integer("hidden_size", 768) * ratio)
        return cls._read(
            vision,
            patch_size=14,
            epsilon=1e-6,
            activation="gelu",
            intermediate_size=(inner * 2 // 3 + 7) // 8 * 8 if swiglu else inner,
            trained_size=vision.integer("image_size", 224),
            mlp_ratio=ratio,
            qkv_bias=vision.flag("qkv_bias", True),
            swiglu=swiglu,
        )

    def shown(self, size: int) -> Self:
        return replace(self, image_size=size)

    @staticmethod
    def respell(name: str) -> str:
        match = _IN_MEMORY.fullmatch(name)
        return f"{match[1]}.{_ON_DISK[match[2]]}.{match[3]}" if match else name

    def _transformers_values(self) -> dict[str, Any]:
        ratio = int(self.mlp_ratio) if self.mlp_ratio.is_integer() else self.mlp_ratio
        return {
            **super()._transformers_values(),
            "image_size": self.trained_size,
            "use_swiglu_ffn": self.swiglu,
            "qkv_bias": self.qkv_bias,
            "mlp_ratio": ratio,
        }

    def _embedding_shapes(self) -> Shapes:
        size, patch = self.hidden_size, self.patch_size
        yield f"{EMBEDDINGS}.cls_token", (1, 1, size)
        yield _POSITIONS, (1, (self.trained_size // patch) ** 2 + 1, size)
        yield f"{_PATCHES}.weight", (size, 3, patch, patch)
        yield f"{_PATCHES}.bias", (size,)

    def _layer_shapes(self, index: int) -> Shapes:
        name, size, inner = _layer_name(index), self.hidden_size, self.intermediate_size
        yield from norm_shapes(f"{name}.norm1", size)
        for part in ("query", "key", "value"):
            yield from linear_shapes(
                f"{name}.attention.attention.{part}", size, size, self.qkv_bias
            )
        yield from linear_shapes(f"{name}.attention.output.dense", size, size)
        yield f"{name}.layer_scale1.lambda1", (size,)
        yield from norm_shapes(f"{name}.norm2", size)
        if self.swiglu:
            yield from linear_shapes(f"{name}.mlp.weights_in", 2 * inner, size)
            yield from linear_shapes(f"{name}.mlp.weights_out", size, inner)
        else:
            yield from linear_shapes(f"{name}.mlp.fc1", inner, size)
            yield from linear_shapes(f"{name}.mlp.fc2", size, inner)
        yield f"{name}.layer_scale2.lambda1", (size,)

    def _embed(self, graph: VisionWriter, pixels: ir.Value) -> ir.Value:
        def positions() -> Array:
            (table,) = graph.read(_POSITIONS)  # [1 + patches, C]
            table = np.concatenate([table[:1], resize_positions(table[1:], self.side)])
            table[:1] += graph.read(f"{EMBEDDINGS}.cls_token")[0]
            return table

        rows = patches(graph, _PATCHES, pixels, self.patch_size, self.hidden_size, bias=True)
        return with_class_token(graph, EMBEDDINGS, rows, positions)

    def _layer(self, graph: VisionWriter, index: int, rows: ir.Value) -> ir.Value:
        name, epsilon = _layer_name(index), self.layer_norm_eps
        attn = f"{name}.attention"
        qkv = (f"{attn}.attention.query", f"{attn}.attention.key", f"{attn}.attention.value")
        normalized = graph.layer_norm(f"{name}.norm1", rows, epsilon)
        attended = attention(graph, attn, normalized, qkv, f"{attn}.output.dense", self.num_heads)
        scaled = _scale(graph, f"{name}.layer_scale1", attended)
        rows = graph.node("Add", f"{name}.attended", rows, scaled)
        normalized = graph.layer_norm(f"{name}.norm2", rows, epsilon)
        if self.swiglu:
            outer = _swiglu(graph, f"{name}.mlp", normalized)
        else:
            outer = _mlp(graph, f"{name}.mlp", normalized, self.hidden_act)
        return graph.node("Add", name, rows, _scale(graph, f"{name}.layer_scale2", outer))


def resize_positions(table: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Position embeddings [n * n, C] for another number of patches: [side * side, C], bicubic."""
    old = round(len(table) ** 0.5)
    if old == side:
        return table
    weights = _cubic_weights(old, side)
    grid = table.reshape(old, old, -1)
    resized = np.einsum("ai,bj,ijc->abc", weights, weights, grid.astype(np.float64))
    flat: NDArray[np.float32] = resized.reshape(side * side, -1).astype(np.float32)
    return flat


def _cubic_weights(old: int, new: int) -> NDArray[np.float64]:
    """How much each of the old points counts at each of the new ones: [new, old]."""
    weights = np.zeros((new, old))
    for row in range(new):
        centre = (row + 0.5) * old / new - 0.5
        first = int(np.floor(centre)) - 1
        for place in range(first, first + 4):
            weights[row, min(max(place, 0), old - 1)] += _cubic(abs(centre - place))
    return weights


def _cubic(distance: float) -> float:
    a, x = _CUBIC, distance
    if x <= 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return ((x - 5) * x + 8) * a * x - 4 * a


def _layer_name(index: int) -> str:
    return f"{TOWER}.encoder.layer.{index}"


def _scale(graph: VisionWriter, name: str, rows: ir.Value) -> ir.Value:
    return graph.node("Mul", name, rows, graph.vector(f"{name}.lambda1"))


def _mlp(graph: VisionWriter, name: str, rows: ir.Value, act: str) -> ir.Value:
    inner = graph.linear(f"{name}.fc1", rows, f"{name}.fc1")
    active = activation(graph, act, f"{name}.active", inner)
    return graph.linear(f"{name}.fc2", active, f"{name}.fc2")


def _swiglu(graph: VisionWriter, name: str, rows: ir.Value) -> ir.Value:
    size = graph.shape(f"{name}.weights_out.weight")[1]
    both = graph.linear(f"{name}.weights_in", rows, f"{name}.weights_in")
    halves, sizes = (f"{name}.gate", f"{name}.up"), graph.integers(size, size)
    gate, up = graph.nodes("Split", halves, both, sizes, attributes={"axis": -1})
    sigmoid = graph.node("Sigmoid", f"{name}.sigmoid", gate)
    active = graph.node("Mul", f"{name}.silu", gate, sigmoid)
    product = graph.node("Mul", f"{name}.product", active, up)
    return graph.linear(f"{name}.weights_out", product, f"{name}.weights_out")
