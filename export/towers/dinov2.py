"""The DINOv2 vision tower, node by node: pixels to the hidden states that the projector reads.

The network is DINOv2's ViT (Oquab et al., arXiv 2304.07193), computed as transformers' Dinov2Model
does.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from llava_edge.export.graphs.weights_bin import Array
from llava_edge.export.towers.tower_config import Dinov2Config
from llava_edge.export.towers.vision_writer import VisionWriter
from llava_edge.export.towers.vit import (
    TOWER,
    activation,
    attention,
    hidden_states,
    patches,
    with_class_token,
)

_EMBEDDINGS = f"{TOWER}.embeddings"
_CUBIC = -0.75  # torch's coefficient of bicubic interpolation


def write_dinov2(
    graph: VisionWriter,
    config: Dinov2Config,
    pixels: ir.Value,
    feature_layers: Sequence[int],
    *,
    drop_first_row: bool,
) -> ir.Value:
    """Append the tower: pixels [n, 3, H, W] -> features [n, T, C * number of feature layers]."""

    def positions() -> Array:
        (table,) = graph.read(f"{_EMBEDDINGS}.position_embeddings")  # [1 + patches, C]
        table = np.concatenate([table[:1], resize_positions(table[1:], config.side)])
        table[:1] += graph.read(f"{_EMBEDDINGS}.cls_token")[0]
        return table

    def layer(index: int, rows: ir.Value) -> ir.Value:
        return _layer(graph, config, f"{TOWER}.encoder.layer.{index}", rows)

    name = f"{_EMBEDDINGS}.patch_embeddings.projection"
    rows = patches(graph, name, pixels, config.patch_size, config.hidden_size, bias=True)
    rows = with_class_token(graph, _EMBEDDINGS, rows, positions)
    return hidden_states(
        graph, rows, config.num_layers, feature_layers, layer, drop_first_row=drop_first_row
    )


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


def _layer(graph: VisionWriter, config: Dinov2Config, name: str, rows: ir.Value) -> ir.Value:
    attn = f"{name}.attention"
    qkv = (f"{attn}.attention.query", f"{attn}.attention.key", f"{attn}.attention.value")
    normalized = graph.layer_norm(f"{name}.norm1", rows, config.layer_norm_eps)
    attended = attention(graph, attn, normalized, qkv, f"{attn}.output.dense", config.num_heads)
    rows = graph.node(
        "Add", f"{name}.attended", rows, _scale(graph, f"{name}.layer_scale1", attended)
    )
    normalized = graph.layer_norm(f"{name}.norm2", rows, config.layer_norm_eps)
    outer = (
        _swiglu(graph, name, normalized) if config.swiglu else _mlp(graph, config, name, normalized)
    )
    return graph.node("Add", name, rows, _scale(graph, f"{name}.layer_scale2", outer))


def _scale(graph: VisionWriter, name: str, rows: ir.Value) -> ir.Value:
    return graph.node("Mul", name, rows, graph.vector(f"{name}.lambda1"))


def _mlp(graph: VisionWriter, config: Dinov2Config, name: str, rows: ir.Value) -> ir.Value:
    inner = graph.linear(f"{name}.mlp.fc1", rows, f"{name}.mlp.fc1")
    active = activation(graph, config.hidden_act, f"{name}.mlp.active", inner)
    return graph.linear(f"{name}.mlp.fc2", active, f"{name}.mlp.fc2")


def _swiglu(graph: VisionWriter, name: str, rows: ir.Value) -> ir.Value:
    size = graph.shape(f"{name}.mlp.weights_out.weight")[1]
    both = graph.linear(f"{name}.mlp.weights_in", rows, f"{name}.mlp.weights_in")
    halves = (f"{name}.mlp.gate", f"{name}.mlp.up")
    gate, up = graph.nodes(
        "Split", halves, both, graph.integers(size, size), attributes={"axis": -1}
    )
    sigmoid = graph.node("Sigmoid", f"{name}.mlp.sigmoid", gate)
    active = graph.node("Mul", f"{name}.mlp.silu", gate, sigmoid)
    product = graph.node("Mul", f"{name}.mlp.product", active, up)
    return graph.linear(f"{name}.mlp.weights_out", product, f"{name}.mlp.weights_out")
