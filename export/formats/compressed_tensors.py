"""compressed-tensors' quantized layers, as llm-compressor saves them for vLLM.

Integers of 4 or 8 bits in int32 words (pack-quantized), and weights of 8 bits, integers or floats,
with scales of the whole, of rows, of groups or of squares (int-, float- and naive-quantized).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llava_edge.core.array_types import Floats
from llava_edge.core.bundle_config import QuantizedBefore
from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.formats.grouped_integers import (
    GroupedIntegers,
    dequantize_groups,
    unkept_group,
    unpack_int32,
)
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.formats.quantized_layers import (
    WAY_OUT,
    check_shape,
    check_whole,
    note_activations,
    scattered_order,
    take_layers,
)
from llava_edge.export.formats.scaled_weights import ZERO_POINTS, open_scaled
from llava_edge.export.progress_bars import note
from llava_edge.export.quantization.blocks import Bits, Blocks, Bytes, middle

_FORMATS = (
    "pack-quantized",
    "int-quantized",
    "float-quantized",
    "naive-quantized",
    "mixed-precision",
)
_PACKED = ("weight_packed", "weight_scale", "weight_shape")
_PARTS = ("weight", "weight_shape", ZERO_POINTS, "weight_g_idx")
_ACTIVATIONS = tuple(
    f"{of}_{part}" for of in ("input", "output", "k", "v") for part in ("scale", "zero_point")
)


@dataclass(frozen=True)
class CompressedTensors:
    """What a file says: the rows and columns of a square with one scale, where it has squares."""

    square: tuple[int, int] | None
    method: QuantizedBefore = "compressed-tensors"

    def unpack(self, tensors: Mapping[str, LazyTensor], folder: Path) -> dict[str, LazyTensor]:
        """Raises CheckpointError where a part is missing or misshapen."""
        kept = {
            name: tensor
            for name, tensor in tensors.items()
            if name.rpartition(".")[2] not in _ACTIVATIONS
        }
        result, layers = take_layers(kept, ("weight_packed", "weight_scale"), _PARTS)
        for name, parts in layers.items():
            if "weight_packed" in parts:
                result[f"{name}.weight"] = _open_packed(name, parts, folder)
                continue
            check_whole(name, parts, ("weight",), folder)
            result[f"{name}.weight"] = open_scaled(name, parts, "weight_scale", self.square, folder)
        return result


def read_compressed_tensors(section: Section) -> CompressedTensors:
    """Raises CheckpointError for formats that export does not read; notes what is left out."""
    _check_formats(section)
    for key in ("transform_config", "sparsity_config"):
        if section.values.get(key) and section.section(key).values.get("format") != "dense":
            raise CheckpointError(
                f"{section.where} has a {key}, which changes what the weights mean and which "
                f"export does not read; {WAY_OUT}."
            )
    squares = set()
    for group in _groups(section):
        if group.has("input_activations"):
            note_activations(section, group.section("input_activations").integer("num_bits", 8))
        if group.has("weights") and group.section("weights").has("block_structure"):
            rows, columns = group.section("weights").integers("block_structure", 2)
            squares.add((rows, columns))
    if section.has("kv_cache_scheme"):
        note(
            f"{section.where} asks for a KV cache of fewer bits, which is left out; "
            "--gpu-cache-bits chooses a bundle's own."
        )
    if len(squares) > 1:
        raise CheckpointError(
            f"{section.where} gives squares of {len(squares)} sizes a scale, but one size is what "
            f"export reads; {WAY_OUT}."
        )
    return CompressedTensors(squares.pop() if squares else None)


def _groups(section: Section) -> Iterator[Section]:
    groups = section.section("config_groups")
    yield from (groups.section(name) for name in groups.values)


def _check_formats(section: Section) -> None:
    """That of the whole, and those of groups, which may have their own."""
    section.choice("format", _FORMATS)
    section.choice("quantization_status", ("compressed",), "compressed")
    for group in _groups(section):
        if group.has("format"):
            group.choice("format", _FORMATS)


def _open_packed(name: str, parts: Mapping[str, LazyTensor], folder: Path) -> LazyTensor:
    check_whole(name, parts, _PACKED, folder)
    rows, columns = (int(size) for size in parts["weight_shape"].read())
    packed = parts["weight_packed"].shape
    bits = next((b for b in _BITS if packed == (rows, -(-columns * b // 32))), None)
    if bits is None:
        raise CheckpointError(
            f"{folder} holds {name} of {rows} x {columns} weights in {list(packed)} integers, "
            f"which is neither 4 nor 8 bits each; {WAY_OUT}."
        )
    groups = parts["weight_scale"].shape[-1] if len(parts["weight_scale"].shape) == 2 else 1
    group = columns // groups if groups and columns % groups == 0 else columns
    groups = columns // group
    scales = [(rows, groups), *([(rows,)] if groups == 1 else [])]
    check_shape(f"{name}.weight_scale", parts["weight_scale"], scales, folder)
    if ZERO_POINTS in parts:
        words = -(-rows * bits // 32)
        check_shape(f"{name}.{ZERO_POINTS}", parts[ZERO_POINTS], [(words, groups)], folder)
    layer = _Packed(parts, (rows, columns), bits, group)
    order = _order(name, parts, columns, group, folder)
    unkept = unkept_group(group, columns) if order is None else "in groups of scattered columns"
    return LazyTensor(
        layer.shape, partial(layer.read, order), None if unkept else layer.blocks, unkept
    )


def _order(
    name: str, parts: Mapping[str, LazyTensor], columns: int, group: int, folder: Path
) -> NDArray[np.intp] | None:
    """The group of each column, where they do not lie in order."""
    if "weight_g_idx" not in parts:
        return None
    part = parts["weight_g_idx"]
    check_shape(f"{name}.weight_g_idx", part, [(columns,)], folder)
    if (part.read() == -1).all():  # never set
        return None
    return scattered_order(f"{name}.weight_g_idx", part, group, folder)


_BITS: tuple[Bits, ...] = (4, 8)


@dataclass(frozen=True)
class _Packed:
    """An [N, K] matrix of integers in words, all raised by the middle of their range."""

    parts: Mapping[str, LazyTensor]
    shape: tuple[int, int]
    bits: Bits
    group: int

    def blocks(self) -> Blocks:
        return self._integers().blocks()

    def read(self, order: NDArray[np.intp] | None) -> Floats:
        found = self._integers()
        if order is None:
            return found.dequantize()
        return dequantize_groups(found.integers, found.scales, found.zero_points, order)

    def _integers(self) -> GroupedIntegers:
        rows, columns = self.shape
        integers = unpack_int32(self.parts["weight_packed"].read(), self.bits, axis=1)
        scales = self.parts["weight_scale"].read().reshape(rows, -1)
        return GroupedIntegers(
            integers[:, :columns], scales, self._zero_points(scales.shape), self.bits, self.group
        )

    def _zero_points(self, shape: tuple[int, ...]) -> Bytes:
        if ZERO_POINTS not in self.parts:
            return np.full(shape, middle(self.bits), np.uint8)
        return unpack_int32(self.parts[ZERO_POINTS].read(), self.bits, axis=0)[: shape[0]]
