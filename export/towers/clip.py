"""CLIP's vision transformer (Radford et al., arXiv 2103.00020), as transformers computes it."""

from dataclasses import dataclass
from typing import ClassVar, Self

import onnx_ir as ir

from llava_edge.core.strict import Section
from llava_edge.export.graphs.weights_bin import Array
from llava_edge.export.towers.vision_tower import TOWER, Shapes, norm_shapes
from llava_edge.export.towers.vision_writer import VisionWriter
from llava_edge.export.towers.vit import EMBEDDINGS, Vit
from llava_edge.export.towers.vit_parts import (
    clip_layer,
    clip_layer_shapes,
    patches,
    with_class_token,
)
from llava_edge.hub.preprocessor_config import UsualPreprocessing

_FIRST_NORM = f"{TOWER}.pre_layrnorm"  # transformers' spelling
_PATCHES = f"{EMBEDDINGS}.patch_embedding"
_POSITIONS = f"{EMBEDDINGS}.position_embedding.weight"


@dataclass(frozen=True)
class ClipTower(Vit):
    """A CLIP vision transformer."""

    model_type: ClassVar[str] = "clip_vision_model"
    usual: ClassVar[UsualPreprocessing] = UsualPreprocessing()
    unused: ClassVar[tuple[str, ...]] = (f"{TOWER}.post_layernorm.", f"{EMBEDDINGS}.position_ids")

    @classmethod
    def read(cls, vision: Section) -> Self:
        return cls._read(
            vision,
            patch_size=32,
            epsilon=1e-5,
            activation="quick_gelu",
            intermediate_size=vision.integer("intermediate_size", 3072),
        )

    def _embedding_shapes(self) -> Shapes:
        size, patch = self.hidden_size, self.patch_size
        yield f"{_PATCHES}.weight", (size, 3, patch, patch)
        yield _POSITIONS, (self.rows, size)
        yield f"{EMBEDDINGS}.class_embedding", (size,)
        yield from norm_shapes(_FIRST_NORM, size)

    def _layer_shapes(self, index: int) -> Shapes:
        name = f"{TOWER}.encoder.layers.{index}"
        return clip_layer_shapes(name, self.hidden_size, self.intermediate_size)

    def _embed(self, graph: VisionWriter, pixels: ir.Value) -> ir.Value:
        def positions() -> Array:
            table = graph.read(_POSITIONS)
            table[0] += graph.read(f"{EMBEDDINGS}.class_embedding")
            return table

        rows = patches(graph, _PATCHES, pixels, self.patch_size, self.hidden_size, bias=False)
        rows = with_class_token(graph, EMBEDDINGS, rows, positions)
        return graph.layer_norm(_FIRST_NORM, rows, self.layer_norm_eps)

    def _layer(self, graph: VisionWriter, index: int, rows: ir.Value) -> ir.Value:
        return clip_layer(
            graph,
            f"{TOWER}.encoder.layers.{index}",
            rows,
            heads=self.num_heads,
            epsilon=self.layer_norm_eps,
            act=self.hidden_act,
        )
