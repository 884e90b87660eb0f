"""The vision graph, node by node: tower and projector, pixels to image embeddings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import onnx_ir as ir

from llava_edge.export.checkpoint import ClipConfig, LazyTensor, LlavaConfig
from llava_edge.export.clip_graph import write_clip
from llava_edge.export.efficientnet_graph import head_side, write_efficientnet
from llava_edge.export.graph import FLOAT
from llava_edge.export.vision_writer import VisionWriter
from llava_edge.export.weights import WeightFile

_PROJECTOR = "multi_modal_projector"


def write_vision(
    config: LlavaConfig,
    tensors: Mapping[str, LazyTensor],
    weights: WeightFile,
    path: Path,
    *,
    half: bool,
) -> None:
    """Write the vision graph: pixel_values [n, 3, H, W] -> image_embeds [n, T, D], both float32.

    With `half`, matrices are stored as float16; all arithmetic is float32 either way.
    """
    graph = VisionWriter(tensors, weights, half=half)
    side = config.tower.image_size
    pixels = graph.input("pixel_values", FLOAT, ("pictures", 3, side, side))
    features = _tower(graph, config, pixels)
    embeds = _projector(graph, config.projector, features)
    graph.output(
        embeds, "image_embeds", FLOAT, ("pictures", image_tokens(config), config.text.hidden_size)
    )
    graph.save(path)


def image_tokens(config: LlavaConfig) -> int:
    """How many rows the graph yields for a picture."""
    tower = config.tower
    if isinstance(tower, ClipConfig):
        return (tower.image_size // tower.patch_size) ** 2 + config.keep_class_token
    return head_side(tower) ** 2


def _tower(graph: VisionWriter, config: LlavaConfig, pixels: ir.Value) -> ir.Value:
    if isinstance(config.tower, ClipConfig):
        layers, keep = config.feature_layers, config.keep_class_token
        return write_clip(graph, config.tower, pixels, layers, keep_class_token=keep)
    return write_efficientnet(graph, config.tower, pixels)


def _projector(
    graph: VisionWriter, kind: Literal["mlp2x_gelu", "linear"], features: ir.Value
) -> ir.Value:
    first, second = f"{_PROJECTOR}.linear_1", f"{_PROJECTOR}.linear_2"
    rows = graph.linear(first, features, first)
    if kind == "linear":
        return rows
    active = graph.node("Gelu", f"{_PROJECTOR}.active", rows)
    return graph.linear(second, active, second)
