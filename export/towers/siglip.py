"""SigLIP's vision transformer (Zhai et al., arXiv 2303.15343), as transformers computes it."""

from dataclasses import dataclass
from typing import ClassVar, Self

import onnx_ir as ir

from llava_edge.core.strict import Section
from llava_edge.export.towers.vision_tower import TOWER, Shapes
from llava_edge.export.towers.vision_writer import VisionWriter
from llava_edge.export.towers.vit import EMBEDDINGS, Vit
from llava_edge.export.towers.vit_parts import clip_layer, clip_layer_shapes, patches
from llava_edge.hub.preprocessor_config import UsualPreprocessing

_HALF = (0.5, 0.5, 0.5)
_PATCHES = f"{EMBEDDINGS}.patch_embedding"
_POSITIONS = f"{EMBEDDINGS}.position_embedding.weight"


@dataclass(frozen=True)
class SiglipTower(Vit):
    """A SigLIP vision transformer: like CLIP's, without class token and first norm."""

    model_type: ClassVar[str] = "siglip_vision_model"
    usual: ClassVar[UsualPreprocessing] = UsualPreprocessing(_HALF, _HALF, "stretch")
    unused: ClassVar[tuple[str, ...]] = (
        f"{TOWER}.post_layernorm.",
        f"{TOWER}.head.",
        f"{EMBEDDINGS}.position_ids",
    )
    has_class_token: ClassVar[bool] = False

    @classmethod
    def read(cls, vision: Section) -> Self:
        return cls._read(
            vision,
            patch_size=16,
            epsilon=1e-6,
            activation="gelu_pytorch_tanh",
            intermediate_size=vision.integer("intermediate_size", 3072),
        )

    def _embedding_shapes(self) -> Shapes:
        size, patch = self.hidden_size, self.patch_size
        yield f"{_PATCHES}.weight", (size, 3, patch, patch)
        yield f"{_PATCHES}.bias", (size,)
        yield _POSITIONS, (self.rows, size)

    def _layer_shapes(self, index: int) -> Shapes:
        name = f"{TOWER}.encoder.layers.{index}"
        return clip_layer_shapes(name, self.hidden_size, self.intermediate_size)

    def _embed(self, graph: VisionWriter, pixels: ir.Value) -> ir.Value:
        rows = patches(graph, _PATCHES, pixels, self.patch_size, self.hidden_size, bias=True)
        return graph.node("Add", EMBEDDINGS, rows, graph.vector(_POSITIONS))

    def _layer(self, graph: VisionWriter, index: int, rows: ir.Value) -> ir.Value:
        return clip_layer(
            graph,
            f"{TOWER}.encoder.layers.{index}",
            rows,
            heads=self.num_heads,
            epsilon=self.layer_norm_eps,
            act=self.hidden_act,
        )
