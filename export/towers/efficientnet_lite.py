"""The EfficientNet-lite vision tower, node by node: pixels to rows of two feature levels.

Batch normalization is folded into the convolutions while they are written.
"""

import numpy as np
import onnx_ir as ir

from llava_edge.errors import CheckpointError
from llava_edge.export.towers.tower_config import EfficientNetLiteConfig
from llava_edge.export.towers.vision_writer import Array, VisionWriter

_TOWER = "vision_tower"
_NORM_EPSILON = 1e-3  # TensorFlow's


def write_efficientnet(
    graph: VisionWriter, config: EfficientNetLiteConfig, pixels: ir.Value
) -> ir.Value:
    """Append the tower: pixels [n, 3, H, W] -> rows [n, h * w, head channels + 4 * fine channels].

    The stage `fine_stage` has maps twice as fine as the head's, four pixels under each of its.
    """
    maps = _convolve(graph, "stem", pixels, stride=2)
    channels, block = config.stem_channels, 0
    for index, (_, stride, ratio, outputs, repeats) in enumerate(config.stages):
        for repeat in range(repeats):
            step = stride if repeat == 0 else 1
            residual = step == 1 and channels == outputs
            expand = ratio != 1
            maps = _block(graph, f"blocks.{block}", maps, step, expand=expand, residual=residual)
            channels, block = outputs, block + 1
        if index == config.fine_stage:
            fine, fine_channels = maps, channels
    head = _convolve(graph, "head", maps)
    unshuffled = _pixel_unshuffle(graph, fine, fine_channels, head_side(config))
    both = graph.node("Concat", f"{_TOWER}.maps", head, unshuffled, attributes={"axis": 1})
    return graph.to_rows(_TOWER, both, config.head_channels + 4 * fine_channels)


def head_side(config: EfficientNetLiteConfig) -> int:
    """How many pixels wide the head's maps are: its square is the number of image tokens.

    Raises CheckpointError where the fine stage's maps are not exactly twice as wide.
    """
    fine = _side(config, config.fine_stage + 1)
    side = _side(config, len(config.stages))
    if fine != 2 * side:
        raise CheckpointError(
            f"The vision tower's fine stage has maps {fine} pixels wide and its head {side}, but "
            "twice as many were expected; choose another image_size or fine_stage."
        )
    return side


def _block(
    graph: VisionWriter, name: str, maps: ir.Value, stride: int, *, expand: bool, residual: bool
) -> ir.Value:
    """A mobile inverted bottleneck."""
    inner = _convolve(graph, f"{name}.expand", maps) if expand else maps
    inner = _convolve(graph, f"{name}.depthwise", inner, stride=stride)
    outer = _convolve(graph, f"{name}.project", inner, activate=False)
    return graph.node("Add", f"{_TOWER}.{name}", maps, outer) if residual else outer


def _convolve(
    graph: VisionWriter, name: str, maps: ir.Value, *, stride: int = 1, activate: bool = True
) -> ir.Value:
    """A convolution, its batch normalization and, mostly, ReLU6."""
    name = f"{_TOWER}.{name}"

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
    name = f"{_TOWER}.fine"
    sizes = graph.integers(0, channels, side, 2, side, 2)
    split = graph.node("Reshape", f"{name}.split", maps, sizes)
    order = {"perm": (0, 1, 3, 5, 2, 4)}
    gathered = graph.node("Transpose", f"{name}.gathered", split, attributes=order)
    return graph.node("Reshape", name, gathered, graph.integers(0, 4 * channels, side, side))


def _side(config: EfficientNetLiteConfig, stages: int) -> int:
    """How many pixels wide the maps are after the stem and so many stages."""
    side = -(-config.image_size // 2)
    for _, stride, *_ in config.stages[:stages]:
        side = -(-side // stride)
    return side
