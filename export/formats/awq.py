"""AWQ's packed integers, as AutoAWQ's WQLinear_GEMM writes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llava_edge.core.array_types import Floats
from llava_edge.core.bundle_config import QuantizedBefore
from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.formats.gptq import group_size
from llava_edge.export.formats.grouped_integers import (
    GroupedIntegers,
    unkept_group,
    unpack_int32,
)
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.formats.quantized_layers import (
    WAY_OUT,
    check_shape,
    check_whole,
    take_layers,
)
from llava_edge.export.quantization.blocks import Blocks, Bytes

_PARTS = ("qweight", "qzeros", "scales")
_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # which column each 4 bits of an integer belong to
_EACH = 8  # columns in an integer


@dataclass(frozen=True)
class Awq:
    """What a file says; a group size of 0 is a whole column."""

    group_size: int
    method: QuantizedBefore = "awq"

    def unpack(self, tensors: Mapping[str, LazyTensor], folder: Path) -> dict[str, LazyTensor]:
        """Raises CheckpointError where a part is missing or misshapen."""
        result, layers = take_layers(tensors, _PARTS[:1], _PARTS[1:])
        for name, parts in layers.items():
            result[f"{name}.weight"] = self._weight(name, parts, folder)
        return result

    def _weight(self, name: str, parts: Mapping[str, LazyTensor], folder: Path) -> LazyTensor:
        check_whole(name, parts, _PARTS, folder)
        inputs, packed = parts["qweight"].shape
        outputs, group = packed * _EACH, self.group_size or inputs
        count = parts["scales"].shape[0]
        if -(-inputs // group) != count and count and inputs % count == 0:
            group = inputs // count  # a layer with groups of its own
        groups = -(-inputs // group)
        check_shape(f"{name}.qzeros", parts["qzeros"], [(groups, packed)], folder)
        check_shape(f"{name}.scales", parts["scales"], [(groups, outputs)], folder)
        unkept = unkept_group(group, inputs)
        blocks = None if unkept else partial(_blocks, parts, group)
        return LazyTensor((outputs, inputs), partial(_read, parts, group), blocks, unkept)


def read_awq(section: Section) -> Awq:
    """Raises CheckpointError for bits and packings that export does not read."""
    version = section.text("version", "gemm").lower()
    if version != "gemm":
        raise CheckpointError(
            f"{section.where} gives {version} as AWQ's version, but gemm is what export reads; "
            "save the checkpoint in that version."
        )
    bits = section.integer("bits" if section.has("bits") else "w_bit")
    if bits != 4:
        raise CheckpointError(
            f"{section.where} gives {bits} bits, but 4 are what export reads of AWQ; {WAY_OUT}."
        )
    return Awq(group_size(section, "group_size" if section.has("group_size") else "q_group_size"))


def _blocks(parts: Mapping[str, LazyTensor], group: int) -> Blocks:
    return _integers(parts, group).blocks()


def _read(parts: Mapping[str, LazyTensor], group: int) -> Floats:
    return _integers(parts, group).dequantize()


def _integers(parts: Mapping[str, LazyTensor], group: int) -> GroupedIntegers:
    return GroupedIntegers(
        np.ascontiguousarray(_columns(parts["qweight"].read()).T),
        np.ascontiguousarray(parts["scales"].read().T),
        np.ascontiguousarray(_columns(parts["qzeros"].read()).T),
        4,
        group,
    )


def _columns(packed: NDArray[Any]) -> Bytes:
    """[..., N / 8] int32 -> [..., N], whose eights are put in order."""
    mixed = unpack_int32(packed, 4, axis=1).reshape(len(packed), -1, _EACH)
    ordered = np.empty_like(mixed)
    ordered[..., _ORDER] = mixed
    return ordered.reshape(len(packed), -1)
