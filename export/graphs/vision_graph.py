"""The vision graph, node by node: tower and projector, pixels to image embeddings."""

from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from llava_edge.core.bundle_config import DeviceName
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.graphs.weights_bin import WeightsBin
from llava_edge.export.layouts.llava_config import LlavaConfig
from llava_edge.export.quantization.precision import TowerFormat
from llava_edge.export.towers.vision_writer import VisionWriter

PROJECTOR = "multi_modal_projector"


def write_vision(
    config: LlavaConfig,
    tensors: Mapping[str, LazyTensor],
    weights: WeightsBin,
    path: Path,
    device: DeviceName,
    tower: TowerFormat,
) -> None:
    """Write the vision graph for a device, and its weights where they are not written yet.

    pixel_values [n, 3, H, W] -> image_embeds [n, T, D], both float32.
    """
    graph = VisionWriter(tensors, weights, device, tower)
    side = config.tower.image_size
    pixels = graph.float_input("pixel_values", ("pictures", 3, side, side))
    features = config.tower.write(
        graph, pixels, config.feature_layers, drop_first_row=config.drop_first_row
    )
    embeds = _projector(graph, config.projector_layers, features)
    shape = ("pictures", config.image_tokens, config.text.hidden_size)
    graph.float_output(embeds, "image_embeds", shape)
    graph.save(path)


def _projector(graph: VisionWriter, layers: int, rows: ir.Value) -> ir.Value:
    """Linear layers with GELU between them."""
    for number in range(1, layers + 1):
        if number > 1:
            rows = graph.node("Gelu", f"{PROJECTOR}.active_{number - 1}", rows)
        name = f"{PROJECTOR}.linear_{number}"
        rows = graph.linear(name, rows, name)
    return rows
