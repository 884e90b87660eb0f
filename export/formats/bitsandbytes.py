"""bitsandbytes' quantized layers: NF4, FP4 (both also with quantized scales) and LLM.int8."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llava_edge.core.array_types import Floats
from llava_edge.core.bundle_config import QuantizedBefore
from llava_edge.core.strict import Section
from llava_edge.core.weight_formats import BLOCK_SIZES
from llava_edge.errors import CheckpointError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.formats.quantized_layers import (
    WAY_OUT,
    check_shape,
    check_whole,
    take_layers,
)
from llava_edge.export.formats.scaled_weights import ScaledWeight
from llava_edge.export.quantization.nf4 import TABLE, Nf4, dequantize_nf4

_STATE = "weight.quant_state.bitsandbytes__"
_MARKS = (f"{_STATE}nf4", f"{_STATE}fp4", "SCB")
_NESTED = ("weight.nested_absmax", "weight.nested_quant_map")
_PARTS = ("weight", "weight.absmax", "weight.quant_map", *_NESTED, "weight_format")
_BYTES = {"F32": 4, "F16": 2, "BF16": 2}  # of the types that only store places of 4 bits
_INT8_SCALE = np.float32(1 / 127)  # SCB is a row's largest magnitude


@dataclass(frozen=True)
class Bitsandbytes:
    """Nothing but the tensors tells how a layer is quantized."""

    method: QuantizedBefore = "bitsandbytes"

    def unpack(self, tensors: Mapping[str, LazyTensor], folder: Path) -> dict[str, LazyTensor]:
        """Raises CheckpointError where a part is missing or misshapen."""
        result, layers = take_layers(tensors, _MARKS, _PARTS)
        for name, parts in layers.items():
            open_layer = _int8 if "SCB" in parts else _four_bits
            result[f"{name}.weight"] = open_layer(name, parts, folder)
        return result


def _int8(name: str, parts: Mapping[str, LazyTensor], folder: Path) -> LazyTensor:
    check_whole(name, parts, ("weight",), folder)
    if "weight_format" in parts and parts["weight_format"].read().item() != 0:
        raise CheckpointError(
            f"{folder} holds {name} in an order that bitsandbytes used for one kind of GPU; "
            f"{WAY_OUT}."
        )
    weight, rows = parts["weight"], parts["SCB"]
    check_shape(f"{name}.SCB", rows, [weight.shape[:1]], folder)
    block = (1, weight.shape[1])
    return ScaledWeight(weight, block, lambda: rows.read()[:, None] * _INT8_SCALE).lazy()


def _four_bits(name: str, parts: Mapping[str, LazyTensor], folder: Path) -> LazyTensor:
    check_whole(name, parts, ("weight", "weight.absmax", "weight.quant_map"), folder)
    mark = next(part for part in parts if part.startswith(_STATE))
    state = _quant_state(name, parts[mark], folder)
    rows, columns = state.integers("shape", 2)
    layer = _FourBits(
        parts,
        (rows, columns),
        state.integer("blocksize"),
        float(np.float32(state.values.get("nested_offset") or 0.0)),  # type: ignore[arg-type]
        state.integer("nested_blocksize", 256),
    )
    _check_sizes(name, layer, folder)
    unkept = ""
    if not mark.endswith("nf4") or not np.array_equal(parts["weight.quant_map"].read(), TABLE):
        unkept = "with bitsandbytes' FP4"
    elif layer.block_size not in BLOCK_SIZES:
        unkept = f"in NF4 blocks of {layer.block_size} weights"
    return LazyTensor(layer.shape, layer.read, None if unkept else layer.nf4, unkept)


def _check_sizes(name: str, layer: "_FourBits", folder: Path) -> None:
    parts, weights = layer.parts, prod(layer.shape)
    weight = parts["weight"]
    held = prod(weight.shape) * _BYTES.get(weight.dtype, 1)
    if held != -(-weights // 2):
        raise CheckpointError(
            f"{folder} holds {name}.weight in {held:,} bytes, but {-(-weights // 2):,} were "
            "expected; fetch the whole checkpoint."
        )
    blocks = -(-weights // layer.block_size)
    check_shape(f"{name}.weight.absmax", parts["weight.absmax"], [(blocks,)], folder)
    check_shape(f"{name}.weight.quant_map", parts["weight.quant_map"], [(16,)], folder)
    if _NESTED[0] in parts:
        check_whole(name, parts, _NESTED, folder)
        nested = -(-blocks // layer.nested_block_size)
        for part, size in zip(_NESTED, (nested, 256), strict=True):
            check_shape(f"{name}.{part}", parts[part], [(size,)], folder)


def _quant_state(name: str, tensor: LazyTensor, folder: Path) -> Section:
    try:
        values = json.loads(tensor.read().tobytes())
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise CheckpointError(
            f"{folder} holds {name} whose quant_state is no JSON object; fetch the whole "
            "checkpoint."
        )
    return Section(values, f"quant_state of {name}")


@dataclass(frozen=True)
class _FourBits:
    """An [N, K] matrix as places in a table of 16 numbers, in blocks with a largest magnitude."""

    parts: Mapping[str, LazyTensor]
    shape: tuple[int, int]
    block_size: int
    nested_offset: float
    nested_block_size: int

    def nf4(self) -> Nf4:
        return Nf4(*self.shape, self.block_size, self._places(), self._largest())

    def read(self) -> Floats:
        return dequantize_nf4(self.nf4(), self.parts["weight.quant_map"].read())

    def _places(self) -> NDArray[np.uint8]:
        stored = np.ascontiguousarray(self.parts["weight"].read())  # of any type: storage alone
        places: NDArray[np.uint8] = stored.reshape(-1).view(np.uint8)
        return places

    def _largest(self) -> NDArray[np.float32]:
        stored: NDArray[Any] = self.parts["weight.absmax"].read()
        if _NESTED[0] not in self.parts:
            return stored.astype(np.float32)
        scales, table = (self.parts[part].read().astype(np.float32) for part in _NESTED)
        values: NDArray[np.float32] = table[stored]
        values *= np.repeat(scales, self.nested_block_size)[: len(stored)]
        values += np.float32(self.nested_offset)
        return values
