"""The vision graph, node by node: tower and projector, pixels to image embeddings."""

from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from llava_edge.core.bundle_config import DeviceName
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.graphs.weights_bin import WeightsBin
from llava_edge.export.layouts.llava_config import LlavaConfig
from llava_edge.export.quantization.precision import Tower
from llava_edge.export.towers.clip import write_clip
from llava_edge.export.towers.dinov2 import write_dinov2
from llava_edge.export.towers.efficientnet_lite import head_side, write_efficientnet
from llava_edge.export.towers.siglip import write_siglip
from llava_edge.export.towers.tower_config import (
    ClipConfig,
    Dinov2Config,
    EfficientNetLiteConfig,
)
from llava_edge.export.towers.vision_writer import VisionWriter

PROJECTOR = "multi_modal_projector"


def write_vision(
    config: LlavaConfig,
    tensors: Mapping[str, LazyTensor],
    weights: WeightsBin,
    path: Path,
    device: DeviceName,
    tower: Tower,
) -> None:
    """Write the vision graph for a device, and its weights where they are not written yet.

    pixel_values [n, 3, H, W] -> image_embeds [n, T, D], both float32.
    """
    graph = VisionWriter(tensors, weights, device, tower)
    side = config.tower.image_size
    pixels = graph.float_input("pixel_values", ("pictures", 3, side, side))
    features = _tower(graph, config, pixels)
    embeds = _projector(graph, config.projector_layers, features)
    shape = ("pictures", image_tokens(config), config.text.hidden_size)
    graph.float_output(embeds, "image_embeds", shape)
    graph.save(path)


def image_tokens(config: LlavaConfig) -> int:
    """How many rows the graph yields for what it is shown."""
    tower = config.tower
    if isinstance(tower, EfficientNetLiteConfig):
        return head_side(tower) ** 2
    return tower.side**2 + tower.has_class_token - config.drop_first_row


def _tower(graph: VisionWriter, config: LlavaConfig, pixels: ir.Value) -> ir.Value:
    tower, layers, drop = config.tower, config.feature_layers, config.drop_first_row
    if isinstance(tower, EfficientNetLiteConfig):
        return write_efficientnet(graph, tower, pixels)
    if isinstance(tower, ClipConfig):
        return write_clip(graph, tower, pixels, layers, drop_first_row=drop)
    if isinstance(tower, Dinov2Config):
        return write_dinov2(graph, tower, pixels, layers, drop_first_row=drop)
    return write_siglip(graph, tower, pixels, layers, drop_first_row=drop)


def _projector(graph: VisionWriter, layers: int, rows: ir.Value) -> ir.Value:
    """Linear layers with GELU between them."""
    for number in range(1, layers + 1):
        if number > 1:
            rows = graph.node("Gelu", f"{PROJECTOR}.active_{number - 1}", rows)
        name = f"{PROJECTOR}.linear_{number}"
        rows = graph.linear(name, rows, name)
    return rows
