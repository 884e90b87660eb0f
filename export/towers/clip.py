"""The CLIP vision tower, node by node: pixels to the hidden states that the projector reads.

The network is CLIP's ViT (Radford et al., arXiv 2103.00020), computed as transformers'
CLIPVisionModel does.
"""

from collections.abc import Sequence

import onnx_ir as ir

from llava_edge.export.graphs.weights_bin import Array
from llava_edge.export.towers.tower_config import ClipConfig
from llava_edge.export.towers.vision_writer import VisionWriter
from llava_edge.export.towers.vit import TOWER, clip_layer, hidden_states, patches, with_class_token

_EMBEDDINGS = f"{TOWER}.embeddings"


def write_clip(
    graph: VisionWriter,
    config: ClipConfig,
    pixels: ir.Value,
    feature_layers: Sequence[int],
    *,
    drop_first_row: bool,
) -> ir.Value:
    """Append the tower: pixels [n, 3, H, W] -> features [n, T, C * number of feature layers]."""

    def positions() -> Array:
        table = graph.read(f"{_EMBEDDINGS}.position_embedding.weight")
        table[0] += graph.read(f"{_EMBEDDINGS}.class_embedding")
        return table

    def layer(index: int, rows: ir.Value) -> ir.Value:
        return clip_layer(
            graph,
            f"{TOWER}.encoder.layers.{index}",
            rows,
            heads=config.num_heads,
            epsilon=config.layer_norm_eps,
            act=config.hidden_act,
        )

    name = f"{_EMBEDDINGS}.patch_embedding"
    rows = patches(graph, name, pixels, config.patch_size, config.hidden_size, bias=False)
    rows = with_class_token(graph, _EMBEDDINGS, rows, positions)
    rows = graph.layer_norm(f"{TOWER}.pre_layrnorm", rows, config.layer_norm_eps)
    return hidden_states(
        graph, rows, config.num_layers, feature_layers, layer, drop_first_row=drop_first_row
    )
