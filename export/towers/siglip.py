"""The SigLIP vision tower, node by node: pixels to the hidden states that the projector reads.

The network is SigLIP's ViT (Zhai et al., arXiv 2303.15343), computed as transformers'
SiglipVisionModel does; it has no class token.
"""

from collections.abc import Sequence

import onnx_ir as ir

from llava_edge.export.towers.tower_config import SiglipConfig
from llava_edge.export.towers.vision_writer import VisionWriter
from llava_edge.export.towers.vit import TOWER, clip_layer, hidden_states, patches

_EMBEDDINGS = f"{TOWER}.embeddings"


def write_siglip(
    graph: VisionWriter,
    config: SiglipConfig,
    pixels: ir.Value,
    feature_layers: Sequence[int],
    *,
    drop_first_row: bool,
) -> ir.Value:
    """Append the tower: pixels [n, 3, H, W] -> features [n, T, C * number of feature layers]."""

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
    rows = patches(graph, name, pixels, config.patch_size, config.hidden_size, bias=True)
    positions = graph.vector(f"{_EMBEDDINGS}.position_embedding.weight")
    rows = graph.node("Add", _EMBEDDINGS, rows, positions)
    return hidden_states(
        graph, rows, config.num_layers, feature_layers, layer, drop_first_row=drop_first_row
    )
