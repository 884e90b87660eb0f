"""EfficientNet-lite (Tan and Le, arXiv 1905.11946): rows of two feature levels of a mobile CNN.

Batch normalization is folded into the convolutions while they are written.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import onnx_ir as ir

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.graphs.weights_bin import Array
from llava_edge.export.towers.vision_tower import TOWER, Shapes
from llava_edge.export.towers.vision_writer import VisionWriter
from llava_edge.hub.preprocessor_config import UsualPreprocessing

_NORM_EPSILON = 1e-3  # TensorFlow's


@dataclass(frozen=True)
class EfficientNetLiteTower:
    """A mobile CNN; a stage is (kernel, stride, expand ratio, channels, repeats).

    The stage `fine_stage` has maps twice as fine as the head's: four of its pixels lie under each
    of the head's and join them in a row.
    """

    image_size: int
    stem_channels: int
    stages: tuple[tuple[int, int, int, int, int], ...]
    head_channels: int
    fine_stage: int

    model_type: ClassVar[str] = "efficientnet_lite"
    in_transformers: ClassVar[bool] = False
    has_class_token: ClassVar[bool] = False
    usual: ClassVar[UsualPreprocessing] = UsualPreprocessing()

    @classmethod
    def read(cls, vision: Section) -> Self:
        stages = tuple(_stages(vision))
        fine_stage = vision.values.get("fine_stage")
        right = bool(stages) and all(value > 0 for stage in stages for value in stage)
        if not right or type(fine_stage) is not int or not 0 <= fine_stage < len(stages):
            raise CheckpointError(
                f"{vision.where} must give stages, a list of [kernel, stride, expand, channels, "
                "repeats] in positive numbers, and fine_stage, the position of one of them."
            )
        tower = cls(
            image_size=vision.integer("image_size"),
            stem_channels=vision.integer("stem_channels"),
            stages=stages,
            head_channels=vision.integer("head_channels"),
            fine_stage=fine_stage,
        )
        tower._check_levels()
        return tower

    @property
    def hidden_size(self) -> int:
        return self.head_channels + 4 * self._fine_channels

    @property
    def rows(self) -> int:
        return self._side(len(self.stages)) ** 2

    def shown(self, size: int) -> Self:
        return self

    def check_features(self, layers: Sequence[int], where: str, *, drop_first_row: bool) -> None:
        if tuple(layers) != (-1,) or drop_first_row:
            raise CheckpointError(
                f"{where} must give -1 as vision_feature_layer and "
                '"full" as vision_feature_select_strategy, since an efficientnet_lite tower has '
                "neither layers to choose from nor a class token."
            )

    @staticmethod
    def respell(name: str) -> str:
        return name

    def shapes(self, feature_layers: Sequence[int]) -> Shapes:
        yield from _convolution_shapes(f"{TOWER}.stem", self.stem_channels, 3, 3)
        for block in self._bottlenecks():
            yield from block.shapes()
        channels = self.stages[-1][3]
        yield from _convolution_shapes(f"{TOWER}.head", self.head_channels, channels, 1)

    def is_unused(self, name: str, feature_layers: Sequence[int]) -> bool:
        return name.endswith(".num_batches_tracked")

    def write(
        self,
        graph: VisionWriter,
        pixels: ir.Value,
        feature_layers: Sequence[int],
        *,
        drop_first_row: bool,
    ) -> ir.Value:
        maps = _convolve(graph, f"{TOWER}.stem", pixels, stride=2)
        for block in self._bottlenecks():
            maps = block.write(graph, maps)
            if block.stage == self.fine_stage:
                fine = maps
        head = _convolve(graph, f"{TOWER}.head", maps)
        unshuffled = _pixel_unshuffle(
            graph, fine, self._fine_channels, self._side(len(self.stages))
        )
        both = graph.node("Concat", f"{TOWER}.maps", head, unshuffled, attributes={"axis": 1})
        return graph.to_rows(TOWER, both, self.hidden_size)

    def transformers_config(self) -> Any:
        from llava_edge.train.models.efficientnet_lite_model import EfficientNetLiteModelConfig

        return EfficientNetLiteModelConfig(
            image_size=self.image_size,
            stem_channels=self.stem_channels,
            stages=self.stages,
            head_channels=self.head_channels,
            fine_stage=self.fine_stage,
        )

    @property
    def _fine_channels(self) -> int:
        return self.stages[self.fine_stage][3]

    def _side(self, stages: int) -> int:
        """How many pixels wide the maps are after the stem and so many stages."""
        side = -(-self.image_size // 2)
        for _, stride, *_ in self.stages[:stages]:
            side = -(-side // stride)
        return side

    def _check_levels(self) -> None:
        fine, side = self._side(self.fine_stage + 1), self._side(len(self.stages))
        if fine != 2 * side:
            raise CheckpointError(
                f"The vision tower's fine stage has maps {fine} pixels wide and its head {side}, "
                "but twice as many were expected; choose another image_size or fine_stage."
            )

    def _bottlenecks(self) -> Iterator["Bottleneck"]:
        """The blocks of all stages; only the first of a stage has its stride."""
        channels, number = self.stem_channels, 0
        for stage, (kernel, stride, ratio, outputs, repeats) in enumerate(self.stages):
            for repeat in range(repeats):
                yield Bottleneck(
                    name=f"{TOWER}.blocks.{number}",
                    stage=stage,
                    kernel=kernel,
                    stride=stride if repeat == 0 else 1,
                    inputs=channels,
                    inner=channels * ratio,
                    outputs=outputs,
                )
                channels, number = outputs, number + 1


@dataclass(frozen=True)
class Bottleneck:
    """A mobile inverted bottleneck: expand, depthwise, project, and the residual."""

    name: str
    stage: int
    kernel: int
    stride: int
    inputs: int
    inner: int  # channels, between expand and project
    outputs: int

    def shapes(self) -> Shapes:
        """The tensors of its convolutions."""
        if self.inner != self.inputs:
            yield from _convolution_shapes(f"{self.name}.expand", self.inner, self.inputs, 1)
        yield from _convolution_shapes(f"{self.name}.depthwise", self.inner, 1, self.kernel)
        yield from _convolution_shapes(f"{self.name}.project", self.outputs, self.inner, 1)

    def write(self, graph: VisionWriter, maps: ir.Value) -> ir.Value:
        """Append it: maps [n, inputs, h, w] -> maps [n, outputs, h / stride, w / stride]."""
        inner = maps
        if self.inner != self.inputs:
            inner = _convolve(graph, f"{self.name}.expand", maps)
        inner = _convolve(graph, f"{self.name}.depthwise", inner, stride=self.stride)
        outer = _convolve(graph, f"{self.name}.project", inner, activate=False)
        residual = self.stride == 1 and self.inputs == self.outputs
        return graph.node("Add", self.name, maps, outer) if residual else outer


def _stages(vision: Section) -> Iterator[tuple[int, int, int, int, int]]:
    value = vision.values.get("stages")
    for position, row in enumerate(value if isinstance(value, list) else []):
        stage = Section({"stages": row}, f"{vision.where}, stage {position},").integers("stages", 5)
        kernel, stride, ratio, channels, repeats = stage
        yield kernel, stride, ratio, channels, repeats


def _convolution_shapes(name: str, outputs: int, inputs: int, kernel: int) -> Shapes:
    yield f"{name}.conv.weight", (outputs, inputs, kernel, kernel)
    for statistic in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.norm.{statistic}", (outputs,)


def _convolve(
    graph: VisionWriter, name: str, maps: ir.Value, *, stride: int = 1, activate: bool = True
) -> ir.Value:
    """A convolution, its batch normalization and, mostly, ReLU6."""

    def scale() -> Array:
        variance = graph.read(f"{name}.norm.running_var") + np.float32(_NORM_EPSILON)
        found: Array = graph.read(f"{name}.norm.weight") / np.sqrt(variance)
        return found

    def kernel() -> Array:
        return graph.read(f"{name}.conv.weight") * scale()[:, None, None, None]

    def bias() -> Array:
        mean = graph.read(f"{name}.norm.running_mean")
        found: Array = graph.read(f"{name}.norm.bias") - mean * scale()
        return found

    outputs, _, *sides = graph.shape(f"{name}.conv.weight")  # [outputs, inputs / groups, k, k]
    convolved = graph.node(
        "Conv",
        f"{name}.conv",
        maps,
        graph.weight(f"{name}.weight", kernel),
        graph.constant(f"{name}.bias", bias),
        attributes={
            "auto_pad": "SAME_UPPER",
            "group": outputs if name.endswith(".depthwise") else 1,
            "kernel_shape": sides,
            "strides": (stride, stride),
        },
    )
    if not activate:
        return convolved
    bounds = (graph.number(0), graph.number(6))
    return graph.node("Clip", name, convolved, *bounds)


def _pixel_unshuffle(graph: VisionWriter, maps: ir.Value, channels: int, side: int) -> ir.Value:
    """[n, c, 2h, 2w] -> [n, 4c, h, w], the four pixels of a channel beside each other."""
    name = f"{TOWER}.fine"
    sizes = graph.integers(0, channels, side, 2, side, 2)
    split = graph.node("Reshape", f"{name}.split", maps, sizes)
    order = {"perm": (0, 1, 3, 5, 2, 4)}
    gathered = graph.node("Transpose", f"{name}.gathered", split, attributes=order)
    return graph.node("Reshape", name, gathered, graph.integers(0, 4 * channels, side, side))
