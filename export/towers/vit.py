"""What all vision transformers have in common, whatever their layers."""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import onnx_ir as ir

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.towers.vision_tower import TOWER, Shapes
from llava_edge.export.towers.vision_writer import VisionWriter
from llava_edge.export.towers.vit_parts import hidden_states
from llava_edge.hub.preprocessor_config import UsualPreprocessing

ACTIVATIONS = ("quick_gelu", "gelu", "gelu_pytorch_tanh")
EMBEDDINGS = f"{TOWER}.embeddings"
_LAYER = re.compile(rf"{TOWER}\.encoder\.layers?\.(\d+)\..*")


@dataclass(frozen=True)
class Vit(ABC):
    """A vision transformer; a kind adds how patches are embedded, and its layers."""

    image_size: int
    patch_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    layer_norm_eps: float
    hidden_act: str  # one of ACTIVATIONS

    model_type: ClassVar[str]
    usual: ClassVar[UsualPreprocessing]
    unused: ClassVar[tuple[str, ...]]  # what names of unused tensors begin with
    in_transformers: ClassVar[bool] = True
    has_class_token: ClassVar[bool] = True

    @property
    def side(self) -> int:
        """How many patches a picture is wide."""
        return self.image_size // self.patch_size

    @property
    def rows(self) -> int:
        return self.side**2 + self.has_class_token

    def shown(self, size: int) -> Self:
        return self

    def check_features(self, layers: Sequence[int], where: str, *, drop_first_row: bool) -> None:
        states = self.num_layers + 1
        if not layers or not all(-states <= layer < states for layer in layers):
            raise CheckpointError(
                f"{where} chooses the hidden states {list(layers)} of the vision tower, but it "
                f"has {states} to choose from; name others."
            )

    @staticmethod
    def respell(name: str) -> str:
        return name.replace(f"{TOWER}.vision_model.", f"{TOWER}.", 1)

    def shapes(self, feature_layers: Sequence[int]) -> Shapes:
        yield from self._embedding_shapes()
        for index in range(self._depth(feature_layers)):
            yield from self._layer_shapes(index)

    def is_unused(self, name: str, feature_layers: Sequence[int]) -> bool:
        if layer := _LAYER.fullmatch(name):
            return int(layer[1]) >= self._depth(feature_layers)
        return name.startswith(self.unused)

    def write(
        self,
        graph: VisionWriter,
        pixels: ir.Value,
        feature_layers: Sequence[int],
        *,
        drop_first_row: bool,
    ) -> ir.Value:
        return hidden_states(
            graph,
            self._embed(graph, pixels),
            self.num_layers,
            feature_layers,
            lambda index, rows: self._layer(graph, index, rows),
            drop_first_row=drop_first_row,
        )

    def transformers_config(self) -> Any:
        import transformers

        return transformers.AutoConfig.for_model(self.model_type, **self._transformers_values())

    @classmethod
    def _read(
        cls, vision: Section, *, patch_size: int, epsilon: float, activation: str, **own: Any
    ) -> Self:
        """With a kind's own defaults, which are transformers', and the fields it alone has."""
        hidden_size = vision.integer("hidden_size", 768)
        num_heads = vision.integer("num_attention_heads", 12)
        image_size = vision.integer("image_size", 224)
        patch_size = vision.integer("patch_size", patch_size)
        if hidden_size % num_heads or image_size < patch_size:
            raise CheckpointError(
                f"{vision.where} contradicts itself: hidden_size must be a multiple of "
                "num_attention_heads, and image_size at least patch_size."
            )
        return cls(
            image_size=image_size,
            patch_size=patch_size,
            hidden_size=hidden_size,
            num_layers=vision.integer("num_hidden_layers", 12),
            num_heads=num_heads,
            layer_norm_eps=vision.number("layer_norm_eps", epsilon),
            hidden_act=vision.choice("hidden_act", ACTIVATIONS, activation),
            **own,
        )

    def _transformers_values(self) -> dict[str, Any]:
        return {
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "image_size": self.image_size,
            "patch_size": self.patch_size,
            "layer_norm_eps": self.layer_norm_eps,
            "hidden_act": self.hidden_act,
        }

    def _depth(self, feature_layers: Sequence[int]) -> int:
        """How many layers the last hidden state that is used has passed."""
        return max(layer % (self.num_layers + 1) for layer in feature_layers)

    @abstractmethod
    def _embedding_shapes(self) -> Shapes:
        """The tensors that make the first hidden state."""

    @abstractmethod
    def _layer_shapes(self, index: int) -> Shapes:
        """The tensors of a layer."""

    @abstractmethod
    def _embed(self, graph: VisionWriter, pixels: ir.Value) -> ir.Value:
        """Append the first hidden state: pixels [n, 3, H, W] -> rows [n, T, C]."""

    @abstractmethod
    def _layer(self, graph: VisionWriter, index: int, rows: ir.Value) -> ir.Value:
        """Append a layer: rows [n, T, C] -> rows [n, T, C]."""
