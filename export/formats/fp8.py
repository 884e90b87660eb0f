"""Weights of 8-bit floats with a scale for each square of them, as DeepSeek and Qwen ship them.

The format is that of transformers' FineGrainedFP8Config: `weight_scale_inv` is multiplied with. A
layer with one scale may call it `weight_scale`, as AutoFP8 does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llava_edge.core.bundle_config import QuantizedBefore
from llava_edge.core.strict import Section
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.formats.quantized_layers import check_whole, note_activations, take_layers
from llava_edge.export.formats.scaled_weights import open_scaled

_MARKS = ("weight_scale_inv", "weight_scale")
_UNUSED = ("activation_scale", "input_scale")


@dataclass(frozen=True)
class Fp8:
    """What a file says: how many rows and columns share a scale, or None where all do."""

    block: tuple[int, int] | None
    method: QuantizedBefore = "fp8"

    def unpack(self, tensors: Mapping[str, LazyTensor], folder: Path) -> dict[str, LazyTensor]:
        """Raises CheckpointError where a part is missing or misshapen."""
        result, layers = take_layers(tensors, _MARKS, ("weight", *_UNUSED))
        for name, parts in layers.items():
            check_whole(name, parts, ("weight",), folder)
            scales = next(part for part in parts if part in _MARKS)
            result[f"{name}.weight"] = open_scaled(name, parts, scales, self.block, folder)
        return result


def read_fp8(section: Section) -> Fp8:
    """Raises CheckpointError for scales that export does not read."""
    section.choice("scale_fmt", ("float",), "float")
    section.choice("fmt", ("e4m3",), "e4m3")
    note_activations(section, 8)
    if not section.has("weight_block_size"):
        return Fp8((128, 128) if "weight_block_size" not in section.values else None)
    rows, columns = section.integers("weight_block_size", 2)
    return Fp8((rows, columns))
