"""Language models that were quantized already: GPTQ and AWQ integers become blocks, bit for bit.

Formats: AutoGPTQ's QuantLinear (also GPTQModel's, optimum's and auto-round's) and AutoAWQ's
WQLinear_GEMM.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llava_edge.core.bundle_config import QuantizedBefore
from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.quantization.blocks import Bits, Blocks, dequantize, from_integers

_FILES = ("quantize_config.json", "quantization_config.json", "quant_config.json")
_PARTS = ("qweight", "qzeros", "scales", "g_idx")
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # which column each 4 bits of an integer belong to
_LARGEST_BLOCK = 256
# auto-round's names for how it packs; of GPTQ's, the first alone stores zero points less one.
_AUTO_ROUND: dict[str, tuple[QuantizedBefore, int]] = {
    "auto_round:auto_gptq": ("gptq", 1),
    "auto_round:gptqmodel": ("gptq", 0),
    "auto_round": ("gptq", 0),
    "auto_round:auto_awq": ("awq", 0),
}


@dataclass(frozen=True)
class PackedFormat:
    """How a checkpoint's integers are packed; a group of 0 is a whole column.

    Layers may have bits and groups of their own, which their shapes tell.
    """

    method: QuantizedBefore
    group_size: int
    zero_offset: int  # what is added to the zero points on disk


def read_packed_format(folder: Path, config: Section) -> PackedFormat | None:
    """What config.json, or a file beside it, says of a quantized checkpoint; None of any other.

    Raises CheckpointError for formats that cannot be imported.
    """
    section = _section(folder, config)
    if section is None:
        return None
    kind = section.text("quant_method", "awq" if section.has("w_bit") else "gptq").lower()
    if "auto-round" in kind or "auto_round" in kind:
        packing = section.choice("packing_format", tuple(_AUTO_ROUND), "auto_round:auto_gptq")
        method, offset = _AUTO_ROUND[packing]
        return PackedFormat(method, _group(section, "group_size"), offset)
    if kind == "awq":
        return _awq(section)
    if kind == "gptq":
        return _gptq(section)
    raise CheckpointError(
        f"{section.where} describes weights quantized by {kind}, but GPTQ and AWQ are what export "
        "reads; give the checkpoint in 16 or 32 bits."
    )


def unpack(
    tensors: Mapping[str, LazyTensor], packed: PackedFormat, folder: Path
) -> dict[str, LazyTensor]:
    """Tensors with `.weight` in the place of `.qweight` and what belongs to it.

    Raises CheckpointError where a part is missing or misshapen.
    """
    result = {n: t for n, t in tensors.items() if n.rpartition(".")[2] not in _PARTS}
    for name in tensors:
        stem, _, part = name.rpartition(".")
        if part != "qweight":
            continue
        parts = {part: tensors.get(f"{stem}.{part}") for part in _PARTS}
        layer = _Layer(stem, packed, parts, folder)
        result[f"{stem}.weight"] = LazyTensor(layer.shape, layer.read, layer.blocks)
    return result


class _Layer:
    """One linear layer's integers, scales and zero points on disk."""

    def __init__(
        self,
        name: str,
        packed: PackedFormat,
        parts: Mapping[str, LazyTensor | None],
        folder: Path,
    ) -> None:
        missing = [part for part in _PARTS[:3] if parts[part] is None]
        if missing:
            raise CheckpointError(
                f"{folder} holds {name}.qweight without {', '.join(missing)}; fetch the whole "
                "checkpoint."
            )
        self._name, self._folder, self._packed = name, folder, packed
        self._parts = {part: tensor for part, tensor in parts.items() if tensor is not None}
        rows, columns = self._parts["qweight"].shape
        self._bits = self._read_bits()
        each = 32 // self._bits
        awq = packed.method == "awq"
        self.shape = (columns * each, rows) if awq else (columns, rows * each)
        self._group = self._read_group()

    def read(self) -> NDArray[np.float32]:
        return dequantize(self.blocks())

    def blocks(self) -> Blocks:
        self._check_order()
        bits, inputs = self._bits, self.shape[1]
        if self._packed.method == "awq":
            integers = _awq_columns(self._parts["qweight"].read())  # [K, N]
            zeros = _awq_columns(self._parts["qzeros"].read())  # [G, N]
        else:
            integers = _unpack(self._parts["qweight"].read(), bits, axis=0)
            zeros = _unpack(self._parts["qzeros"].read(), bits, axis=1)
        zeros = (zeros + np.uint8(self._packed.zero_offset)) & np.uint8(2**bits - 1)
        scales = _exact_half(self._parts["scales"].read())
        block = _block_size(self._group, self._name)
        repeats = -(-self._group // block)
        count = -(-inputs // block)
        padded = np.pad(integers, ((0, count * block - inputs), (0, 0)))
        return from_integers(
            np.ascontiguousarray(padded.T).reshape(self.shape[0], count, block),
            np.ascontiguousarray(np.repeat(scales, repeats, axis=0)[:count].T),
            np.ascontiguousarray(np.repeat(zeros, repeats, axis=0)[:count].T),
            bits=bits,
            columns=inputs,
        )

    def _read_bits(self) -> Bits:
        """By the shapes, since a few layers may have other bits than the rest."""
        outputs, packed = self._parts["scales"].shape[-1], self._parts["qzeros"].shape[-1]
        for bits in (4, 8):
            if packed * 32 == outputs * bits:
                return 4 if bits == 4 else 8
        raise CheckpointError(
            f"{self._folder} holds {self._name} with {outputs} outputs and zero points in {packed} "
            "integers, which is neither 4 nor 8 bits each; give the checkpoint in 16 or 32 bits."
        )

    def _read_group(self) -> int:
        """How many inputs share a scale."""
        (outputs, inputs), each = self.shape, 32 // self._bits
        count = self._parts["scales"].shape[0]
        group = self._packed.group_size or inputs
        if -(-inputs // group) != count and count and inputs % count == 0:
            group = inputs // count  # a layer with groups of its own
        expected = {
            "qzeros": (-(-inputs // group), outputs // each),
            "scales": (-(-inputs // group), outputs),
        }
        for part, shape in expected.items():
            if self._parts[part].shape != shape:
                found = list(self._parts[part].shape)
                raise CheckpointError(
                    f"{self._folder} holds {self._name}.{part} in the shape {found}, but "
                    f"{list(shape)} was expected; fetch the whole checkpoint."
                )
        return group

    def _check_order(self) -> None:
        order = self._parts.get("g_idx")
        if order is not None and not np.array_equal(
            order.read(), np.arange(self.shape[1]) // self._group
        ):
            raise _reordered(f"{self._folder} holds {self._name}")


def _section(folder: Path, config: Section) -> Section | None:
    inner = [config.section("text_config")] if config.has("text_config") else []
    for where in (config, *inner):
        if where.has("quantization_config"):
            return where.section("quantization_config")
    path = next((folder / name for name in _FILES if (folder / name).exists()), None)
    return None if path is None else Section.from_file(path)


def _gptq(section: Section) -> PackedFormat:
    if section.flag("desc_act", False):
        raise _reordered(f"{section.where} says desc_act = true, so the checkpoint holds columns")
    _check_bits(section, "bits", (4, 8))
    second = section.text("checkpoint_format", "gptq") == "gptq_v2"
    return PackedFormat("gptq", _group(section, "group_size"), 0 if second else 1)


def _awq(section: Section) -> PackedFormat:
    version = section.text("version", "gemm").lower()
    if version != "gemm":
        raise CheckpointError(
            f"{section.where} gives {version} as AWQ's version, but gemm is what export reads; "
            "save the checkpoint in that version."
        )
    _check_bits(section, "bits" if section.has("bits") else "w_bit", (4,))
    group = "group_size" if section.has("group_size") else "q_group_size"
    return PackedFormat("awq", _group(section, group), 0)


def _reordered(what: str) -> CheckpointError:
    return CheckpointError(
        f"{what} ordered by activation (desc_act), but onnxruntime's MatMulNBits takes groups of "
        "neighbours; quantize with desc_act=False."
    )


def _check_bits(section: Section, key: str, supported: tuple[int, ...]) -> None:
    bits = section.integer(key)
    if bits not in supported:
        raise CheckpointError(
            f"{section.where} gives {bits} bits, but {' and '.join(map(str, supported))} are what "
            "export reads; give the checkpoint in 16 or 32 bits."
        )


def _group(section: Section, key: str) -> int:
    """-1 is a whole column."""
    return 0 if section.values.get(key) == -1 else section.integer(key, 128)


def _block_size(group: int, name: str) -> int:
    """The largest block that groups can be cut into."""
    size = group & -group  # the largest power of two that divides it
    if size < 16:
        raise CheckpointError(
            f"{name} has groups of {group} weights, but multiples of 16 are what onnxruntime "
            "takes; quantize with groups of 32, 64 or 128."
        )
    return min(size, _LARGEST_BLOCK)


def _unpack(packed: NDArray[Any], bits: Bits, *, axis: int) -> NDArray[np.uint8]:
    """int32 [..] -> integers, 32 / bits times as many along the axis, the lowest bits first."""
    little = np.moveaxis(packed.astype("<i4", copy=False), axis, -1)
    parts = np.ascontiguousarray(little).view(np.uint8)  # [..., 4 * n]
    if bits == 4:
        parts = np.stack((parts & 15, parts >> 4), axis=-1).reshape(*parts.shape[:-1], -1)
    return np.moveaxis(parts, -1, axis)


def _awq_columns(packed: NDArray[Any]) -> NDArray[np.uint8]:
    """[..., N / 8] int32 -> [..., N], whose eights are put in order."""
    mixed = _unpack(packed, 4, axis=1).reshape(len(packed), -1, 8)
    ordered = np.empty_like(mixed)
    ordered[..., _AWQ_ORDER] = mixed
    return ordered.reshape(len(packed), -1)


def _exact_half(scales: NDArray[Any]) -> NDArray[Any]:
    """As float16 where that changes no number, else as float32."""
    with np.errstate(over="ignore"):
        half = scales.astype(np.float16)
    same = np.array_equal(half.astype(np.float32), scales.astype(np.float32))
    return half if same else scales.astype(np.float32)
