"""What a kind of vision tower says of itself: how it is read, its tensors, and its graph."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Protocol, Self

import onnx_ir as ir

from llava_edge.core.strict import Section
from llava_edge.export.towers.vision_writer import VisionWriter
from llava_edge.hub.preprocessor_config import UsualPreprocessing

TOWER = "vision_tower"  # what the names of its tensors begin with
Shapes = Iterator[tuple[str, tuple[int, ...]]]


class VisionTower(Protocol):
    """A tower as vision_config describes it.

    `feature_layers` index its hidden states: 0 is what enters the first layer, negative ones count
    from the last.
    """

    model_type: ClassVar[str]  # as transformers calls it
    in_transformers: ClassVar[bool]  # transformers builds it by itself
    has_class_token: ClassVar[bool]
    usual: ClassVar[UsualPreprocessing]

    @classmethod
    def read(cls, vision: Section) -> Self:
        """Raises CheckpointError where it contradicts itself or asks for what is not supported."""

    @property
    def image_size(self) -> int:
        """Pixels along a side of the pictures that it is shown."""

    @property
    def hidden_size(self) -> int:
        """Channels of a row."""

    @property
    def rows(self) -> int:
        """Rows of a picture, the class token's included."""

    def shown(self, size: int) -> Self:
        """The same tower for pictures of another size, where it takes any."""

    def check_features(self, layers: Sequence[int], where: str, *, drop_first_row: bool) -> None:
        """Raises CheckpointError where it has no such features; `where` names the file."""

    @staticmethod
    def respell(name: str) -> str:
        """The canonical name of a tensor that this kind may have under another."""

    def shapes(self, feature_layers: Sequence[int]) -> Shapes:
        """The tensors that these features are computed with, by their canonical names."""

    def is_unused(self, name: str, feature_layers: Sequence[int]) -> bool:
        """Whether real checkpoints hold this tensor although nothing is computed from it."""

    def write(
        self,
        graph: VisionWriter,
        pixels: ir.Value,
        feature_layers: Sequence[int],
        *,
        drop_first_row: bool,
    ) -> ir.Value:
        """Append it: pixels [n, 3, H, W] -> features [n, T, C * number of feature layers]."""

    def transformers_config(self) -> Any:
        """Its configuration as transformers has it."""


def linear_shapes(name: str, outputs: int, inputs: int, bias: bool = True) -> Shapes:
    """The tensors of a linear layer."""
    yield f"{name}.weight", (outputs, inputs)
    if bias:
        yield f"{name}.bias", (outputs,)


def norm_shapes(name: str, size: int) -> Shapes:
    """The tensors of a layer normalization."""
    yield f"{name}.weight", (size,)
    yield f"{name}.bias", (size,)
