"""The parts of layers that were quantized before, among a checkpoint's tensors."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llava_edge.core.bundle_config import QuantizedBefore
from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.progress_bars import note

WAY_OUT = "give the checkpoint in 16 or 32 bits"
Layers = dict[str, dict[str, LazyTensor]]  # each layer's parts, by the layer's name


class PackedFormat(Protocol):
    """How the weights of a checkpoint's layers are packed, by one library's rules."""

    @property
    def method(self) -> QuantizedBefore: ...

    def unpack(self, tensors: Mapping[str, LazyTensor], folder: Path) -> dict[str, LazyTensor]:
        """Tensors with `.weight` in the place of each quantized layer's parts.

        Raises CheckpointError where a part is missing or misshapen.
        """
        ...


def take_layers(
    tensors: Mapping[str, LazyTensor], marks: Sequence[str], parts: Iterable[str]
) -> tuple[dict[str, LazyTensor], Layers]:
    """The tensors of no quantized layer, and the parts of each one that is: that has a mark."""
    names = dict.fromkeys(
        name.removesuffix(f".{mark}")
        for name in tensors
        for mark in marks
        if name.endswith(f".{mark}")
    )
    wanted = (*marks, *parts)
    layers = {
        name: {part: tensors[f"{name}.{part}"] for part in wanted if f"{name}.{part}" in tensors}
        for name in names
    }
    taken = {f"{name}.{part}" for name, found in layers.items() for part in found}
    return {name: tensor for name, tensor in tensors.items() if name not in taken}, layers


def check_whole(
    name: str, layer: Mapping[str, LazyTensor], parts: Sequence[str], folder: Path
) -> None:
    """Raises CheckpointError where a layer lacks any of these parts."""
    missing = [part for part in parts if part not in layer]
    if missing:
        raise CheckpointError(
            f"{folder} holds {name}.{next(iter(layer))} without {', '.join(missing)}; fetch the "
            "whole checkpoint."
        )


def check_shape(
    name: str, tensor: LazyTensor, expected: Sequence[tuple[int, ...]], folder: Path
) -> None:
    """Raises CheckpointError where a part has none of the shapes that fit the others."""
    if tensor.shape not in expected:
        shapes = " or ".join(str(list(shape)) for shape in expected)
        raise CheckpointError(
            f"{folder} holds {name} in the shape {list(tensor.shape)}, but {shapes} was expected; "
            "fetch the whole checkpoint."
        )


def scattered_order(
    name: str, part: LazyTensor, group: int, folder: Path
) -> NDArray[np.intp] | None:
    """The group of each column, or None where groups of this size lie in order.

    Raises CheckpointError for groups that there are not.
    """
    order: NDArray[np.intp] = part.read()
    expected = np.arange(len(order)) // group
    if np.array_equal(order, expected):
        return None
    if order.min() < 0 or order.max() > expected[-1]:
        raise CheckpointError(
            f"{folder} holds {name} with groups from {order.min()} to {order.max()}, but there are "
            f"{expected[-1] + 1}; fetch the whole checkpoint."
        )
    return order


def note_activations(section: Section, bits: int) -> None:
    """Say what is left out of a checkpoint that rounds activations as well."""
    if bits < 16:
        note(
            f"{section.where} asks for activations of {bits} bits as well, which is left out: a "
            "bundle computes with its own."
        )
