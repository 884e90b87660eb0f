"""The CLIP vision tower, node by node: pixels to the hidden states that the projector reads.

The network is CLIP's ViT (Radford et al., arXiv 2103.00020), computed as transformers'
CLIPVisionModel does.
"""

import numpy as np
import onnx_ir as ir

from llava_edge.export.checkpoint import ClipConfig
from llava_edge.export.graph import MICROSOFT
from llava_edge.export.vision_writer import VisionWriter

_TOWER = "vision_tower"


def write_clip(
    graph: VisionWriter,
    config: ClipConfig,
    pixels: ir.Value,
    feature_layers: tuple[int, ...],
    *,
    keep_class_token: bool,
) -> ir.Value:
    """Append the tower: pixels [n, 3, H, W] -> features [n, T, C * number of feature layers].

    Hidden state 0 is what enters the first layer and state N what leaves layer N; negative ones
    count from the last. Layers after the deepest one asked for are not written.
    """
    states = [layer % (config.num_layers + 1) for layer in feature_layers]
    rows = _embed(graph, config, pixels)
    features = {}
    for state in range(max(states) + 1):
        if state > 0:
            rows = _layer(graph, config, f"{_TOWER}.encoder.layers.{state - 1}", rows)
        if state in states:
            features[state] = rows if keep_class_token else _drop_first(graph, rows, state)
    picked = [features[state] for state in states]
    if len(picked) == 1:
        return picked[0]
    return graph.node("Concat", "features", *picked, attributes={"axis": -1})


def _embed(graph: VisionWriter, config: ClipConfig, pixels: ir.Value) -> ir.Value:
    """Patches and the class token, with their positions -> [n, 1 + patches, C]."""
    name = f"{_TOWER}.embeddings"
    kernel = graph.weight(
        f"{name}.patch_embedding.weight", graph.read(f"{name}.patch_embedding.weight")
    )
    side = (config.patch_size, config.patch_size)
    maps = graph.node(
        "Conv",
        f"{name}.patch_embedding",
        pixels,
        kernel,
        attributes={"kernel_shape": side, "strides": side},
    )
    patches = graph.to_rows(f"{name}.patches", maps, config.hidden_size)
    # A row of zeros is put first, and the class embedding is added with the first position.
    padding = graph.integers(0, 1, 0, 0, 0, 0)
    padded = graph.node("Pad", f"{name}.padded", patches, padding)
    positions = graph.read(f"{name}.position_embedding.weight")
    positions[0] += graph.read(f"{name}.class_embedding")
    table = graph.constant(f"{name}.positions", positions)
    rows = graph.node("Add", name, padded, table)
    return graph.layer_norm(f"{_TOWER}.pre_layrnorm", rows, config.layer_norm_eps)


def _layer(graph: VisionWriter, config: ClipConfig, name: str, rows: ir.Value) -> ir.Value:
    normalized = graph.layer_norm(f"{name}.layer_norm1", rows, config.layer_norm_eps)
    attended = _attention(graph, config, f"{name}.self_attn", normalized)
    rows = graph.node("Add", f"{name}.attended", rows, attended)
    normalized = graph.layer_norm(f"{name}.layer_norm2", rows, config.layer_norm_eps)
    inner = graph.linear(f"{name}.mlp.fc1", normalized, f"{name}.mlp.fc1")
    active = _activation(graph, config.hidden_act, f"{name}.mlp.active", inner)
    outer = graph.linear(f"{name}.mlp.fc2", active, f"{name}.mlp.fc2")
    return graph.node("Add", name, rows, outer)


def _attention(graph: VisionWriter, config: ClipConfig, name: str, rows: ir.Value) -> ir.Value:
    modules = tuple(f"{name}.{part}_proj" for part in "qkv")
    qkv = graph.linear(f"{name}.qkv", rows, *modules)
    sizes = graph.integers(*[config.hidden_size] * 3)
    parts = graph.nodes("Split", modules, qkv, sizes, attributes={"axis": -1})
    attended = graph.node(
        "MultiHeadAttention",
        name,
        *parts,
        domain=MICROSOFT,
        attributes={"num_heads": config.num_heads},
    )
    return graph.linear(f"{name}.out_proj", attended, f"{name}.out_proj")


def _activation(graph: VisionWriter, kind: str, name: str, value: ir.Value) -> ir.Value:
    if kind == "gelu":
        return graph.node("Gelu", name, value)
    return graph.node("QuickGelu", name, value, domain=MICROSOFT, attributes={"alpha": 1.702})


def _drop_first(graph: VisionWriter, rows: ir.Value, state: int) -> ir.Value:
    """Leave out the class token's row."""
    bounds = (graph.integers(1), graph.integers(np.iinfo(np.int64).max), graph.integers(1))
    return graph.node("Slice", f"{_TOWER}.states.{state}", rows, *bounds)
