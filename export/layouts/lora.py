"""A peft LoRA adapter, merged into the tensors it adapts while they are read."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from llava_edge.errors import CheckpointError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.layouts.adapter_config import FILE, read_adapter_config
from llava_edge.export.layouts.adapter_tensors import Adapter, read_adapter
from llava_edge.export.layouts.lora_pair import adapted
from llava_edge.export.layouts.tensor_names import EMBEDDING_TABLE, HEAD
from llava_edge.export.layouts.trained_rows import with_rows
from llava_edge.export.progress_bars import note

FILES = ("adapter_model.safetensors", "adapter_model.bin")


def open_adapter(folder: Path) -> Adapter | None:
    """The folder's adapter, or None where it holds none.

    Raises CheckpointError where the adapter is broken or does more than is supported.
    """
    if not (folder / FILE).exists():
        return None
    return read_adapter(read_adapter_config(folder), adapter_file(folder))


def adapter_file(folder: Path) -> Path:
    """Where an adapter's tensors are."""
    return next((folder / name for name in FILES if (folder / name).exists()), folder / FILES[0])


def merge(
    tensors: Mapping[str, LazyTensor], adapter: Adapter, where: Path
) -> dict[str, LazyTensor]:
    """Raises CheckpointError where the adapter's weights do not fit the tensors."""
    merged = {**tensors, **adapter.base}
    misfits = [
        f"{name} {list(shape)} ({_found(tensors, name)} in the base)"
        for name, shape in _misfits(tensors, merged, adapter)
    ]
    if misfits:
        listed = ", ".join(misfits[:10]) + (
            f" and {len(misfits) - 10} more" if len(misfits) > 10 else ""
        )
        raise CheckpointError(
            f"The adapter in {where} does not fit its base at {listed}; give the base that it was "
            "trained on."
        )
    _check_quantized(merged, adapter, where)
    merged |= {name: adapted(merged[name], pair) for name, pair in adapter.pairs.items()}
    merged |= adapter.saved
    return merged | {
        name: with_rows(merged[name], rows, where) for name, rows in adapter.rows.items()
    }


def _check_quantized(base: Mapping[str, LazyTensor], adapter: Adapter, where: Path) -> None:
    """Say what becomes of a quantized base, whose integers an adapter cannot keep."""
    quantized = [
        pair for name, pair in adapter.pairs.items() if base[name].blocks or base[name].unkept
    ]
    if any(pair.residual for pair in quantized):
        raise CheckpointError(
            f"The adapter in {where} began with parts of its base's weights, but this base is "
            "quantized; give the one in 16 or 32 bits that it was trained on."
        )
    if quantized:
        note(
            f"The adapter in {where} changes matrices of a quantized base ({len(quantized)}), "
            "which are quantized anew; with its base in 16 or 32 bits less is lost.",
            logging.WARNING,
        )


def _misfits(
    tensors: Mapping[str, LazyTensor], merged: Mapping[str, LazyTensor], adapter: Adapter
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes; only a vocabulary's tables may have another number of rows."""
    for name, tensor in [*adapter.base.items(), *adapter.saved.items()]:
        first = 1 if name in (EMBEDDING_TABLE, HEAD) else 0
        if name not in tensors or tensors[name].shape[first:] != tensor.shape[first:]:
            yield name, tensor.shape
    for name, pair in adapter.pairs.items():
        if name not in tensors or merged[name].shape != pair.shape:
            yield name, pair.shape
    for name, rows in adapter.rows.items():
        if name not in tensors:
            yield name, rows.rows.shape


def _found(tensors: Mapping[str, LazyTensor], name: str) -> str:
    return str(list(tensors[name].shape)) if name in tensors else "none"
