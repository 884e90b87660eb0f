"""GPTQ's packed integers, as AutoGPTQ, GPTQModel, optimum and auto-round write them.

Which zero points are meant is told by the stored numbers, not by a label. A file of the format
"gptq" stores each zero point less one, a file of "gptq_v2" as it is, and labels are known to be
wrong. The true zero point of symmetric weights is always the middle of the integers, 2^(bits - 1),
so what is stored says which of the two it is; symmetric weights with any other zero points are
refused. Zero points that differ (asymmetric weights) are read as the label says.

Whether a layer's groups lie in order is told by its g_idx, not by desc_act.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

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
    scattered_order,
    take_layers,
)
from llava_edge.export.progress_bars import note
from llava_edge.export.quantization.blocks import Bits, Blocks, Bytes, middle

_PARTS = ("qweight", "qzeros", "scales", "g_idx")
_STORED_LESS = {"gptq": 1, "gptq_v2": 0}  # what a format takes from zero points


@dataclass(frozen=True)
class Gptq:
    """What a file says; a group size of 0 is a whole column. Shapes tell a layer's own bits."""

    group_size: int
    stored_less: int  # what is taken from the zero points on disk, by the file's label
    symmetric: bool | None = None  # None: nothing is said, or layers differ
    reordered: bool = False  # desc_act, which only counts for layers without g_idx
    method: QuantizedBefore = "gptq"

    def unpack(self, tensors: Mapping[str, LazyTensor], folder: Path) -> dict[str, LazyTensor]:
        """Raises CheckpointError where a part is missing, misshapen or contradicts the file."""
        result, layers = self._layers(tensors, folder)
        mislabelled = sum(layer.stored_less != self.stored_less for layer in layers)
        if mislabelled:
            note(
                f"The zero points of {mislabelled} symmetric layers in {folder} are not stored as "
                "its configuration says; they were recognised and are read as they are."
            )
        return result | {f"{layer.name}.weight": layer.weight() for layer in layers}

    def stored_format(self, tensors: Mapping[str, LazyTensor], folder: Path) -> str:
        """The checkpoint_format that the stored zero points have, whatever the label says."""
        _, layers = self._layers(tensors, folder)
        found = {layer.stored_less for layer in layers}
        less = found.pop() if len(found) == 1 else self.stored_less
        return next(name for name, taken in _STORED_LESS.items() if taken == less)

    def _layers(
        self, tensors: Mapping[str, LazyTensor], folder: Path
    ) -> "tuple[dict[str, LazyTensor], list[_Layer]]":
        """The tensors of no quantized layer, and the layers."""
        result, parts = take_layers(tensors, _PARTS[:1], _PARTS[1:])
        return result, [_Layer(name, self, found, folder) for name, found in parts.items()]


def read_gptq(section: Section) -> Gptq:
    """Raises CheckpointError for bits and packings that export does not read."""
    bits = section.integer("bits")
    if bits not in (4, 8):
        raise CheckpointError(
            f"{section.where} gives {bits} bits, but 4 and 8 are what export reads; {WAY_OUT}."
        )
    section.choice("pack_dtype", ("int32",), "int32")
    kind = section.choice("checkpoint_format", tuple(_STORED_LESS), "gptq")
    return Gptq(
        group_size(section, "group_size"),
        _STORED_LESS[kind],
        _symmetric(section),
        section.flag("desc_act", False),
    )


def group_size(section: Section, key: str) -> int:
    """-1 is a whole column, for which 0 stands here."""
    return 0 if section.values.get(key) == -1 else section.integer(key, 128)


def _symmetric(section: Section) -> bool | None:
    """GPTQModel's `dynamic` gives some layers settings of their own."""
    if not section.has("sym") or section.has("dynamic"):
        return None
    return section.flag("sym", True)


class _Layer:
    """One linear layer's integers, scales and zero points on disk."""

    def __init__(
        self, name: str, file: Gptq, parts: Mapping[str, LazyTensor], folder: Path
    ) -> None:
        check_whole(name, parts, _PARTS[:3], folder)
        self.name, self._file, self._parts, self._folder = name, file, parts, folder
        packed, outputs = parts["qweight"].shape
        self._bits = self._read_bits()
        self.shape = (outputs, packed * 32 // self._bits)
        self._group = self._read_group()
        self._order = self._read_order()
        self.stored_less = self._recognise()

    def weight(self) -> LazyTensor:
        unkept = unkept_group(self._group, self.shape[1]) if self._order is None else _SCATTERED
        return LazyTensor(self.shape, self._read, None if unkept else self._blocks, unkept)

    def _blocks(self) -> Blocks:
        return self._integers().blocks()

    def _read(self) -> Floats:
        found = self._integers()
        if self._order is None:
            return found.dequantize()
        return dequantize_groups(found.integers, found.scales, found.zero_points, self._order)

    def _integers(self) -> GroupedIntegers:
        """As they lie, whatever their order."""
        integers = unpack_int32(self._parts["qweight"].read(), self._bits, axis=0)  # [K, N]
        return GroupedIntegers(
            np.ascontiguousarray(integers.T),
            np.ascontiguousarray(self._parts["scales"].read().T),
            np.ascontiguousarray(self._stored_zeros().T + np.uint8(self.stored_less))
            & np.uint8(2**self._bits - 1),
            self._bits,
            self._group,
        )

    def _stored_zeros(self) -> Bytes:
        return unpack_int32(self._parts["qzeros"].read(), self._bits, axis=1)  # [G, N]

    def _read_bits(self) -> Bits:
        """By the shapes, since a few layers may have other bits than the rest."""
        outputs, packed = self._parts["scales"].shape[-1], self._parts["qzeros"].shape[-1]
        for bits in (4, 8):
            if packed * 32 == outputs * bits:
                return 4 if bits == 4 else 8
        raise CheckpointError(
            f"{self._folder} holds {self.name} with {outputs} outputs and zero points in {packed} "
            f"integers, which is neither 4 nor 8 bits each; {WAY_OUT}."
        )

    def _read_group(self) -> int:
        """How many inputs share a scale."""
        outputs, inputs = self.shape
        count = self._parts["scales"].shape[0]
        group = self._file.group_size or inputs
        if -(-inputs // group) != count and count and inputs % count == 0:
            group = inputs // count  # a layer with groups of its own
        groups = -(-inputs // group)
        for part, columns in (("qzeros", outputs * self._bits // 32), ("scales", outputs)):
            name = f"{self.name}.{part}"
            check_shape(name, self._parts[part], [(groups, columns)], self._folder)
        return group

    def _read_order(self) -> np.ndarray | None:
        """The group of each input, where they do not lie in order."""
        inputs, groups = self.shape[1], self._parts["scales"].shape[0]
        part = self._parts.get("g_idx")
        if part is None:
            if self._file.reordered and groups > 1:
                raise CheckpointError(
                    f"{self._folder} is ordered by activation (desc_act), but {self.name} has no "
                    "g_idx that says how; fetch the whole checkpoint."
                )
            return None
        check_shape(f"{self.name}.g_idx", part, [(inputs,)], self._folder)
        return scattered_order(f"{self.name}.g_idx", part, self._group, self._folder)

    def _recognise(self) -> int:
        """What the layer's zero points are stored less, as the module's docstring says."""
        file, center = self._file, middle(self._bits)
        if file.symmetric is False:
            return file.stored_less
        stored = self._stored_zeros()
        for less in (0, 1):
            if (stored == center - less).all():
                return less
        if file.symmetric:
            raise CheckpointError(
                f"{self._folder} says that its weights are symmetric, but the stored zero points "
                f"of {self.name} are not all {center - 1} or all {center}; fetch the checkpoint "
                "again, or correct sym in its configuration."
            )
        return file.stored_less


_SCATTERED = "in groups of scattered columns (GPTQ with desc_act)"
