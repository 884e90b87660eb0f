"""A peft LoRA adapter, merged into the tensors it adapts while they are read."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from llava_edge.errors import CheckpointError
from llava_edge.export.checkpoint_section import Section
from llava_edge.export.lazy_tensor import LazyTensor
from llava_edge.export.safetensors_files import open_file
from llava_edge.export.tensor_names import canonical

_PREFIX = "base_model.model."
_SUFFIX = {".lora_A.weight": "A", ".lora_B.weight": "B"}
_UNSUPPORTED = (  # settings by which an adapter is more than W + scale * B @ A
    "use_dora",
    "fan_in_fan_out",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "lora_bias",
)


@dataclass(frozen=True)
class Adapter:
    """W becomes W + scale * B @ A, with A [rank, inputs] and B [outputs, rank] per weight name."""

    scale: float
    pairs: Mapping[str, tuple[LazyTensor, LazyTensor]]


def open_adapter(folder: Path) -> Adapter | None:
    """The folder's adapter, or None where it holds none.

    Raises CheckpointError where the adapter is broken or does more than plain LoRA.
    """
    if not (folder / "adapter_config.json").exists():
        return None
    config = Section.from_file(folder / "adapter_config.json")
    config.choice("peft_type", ("LORA",), "LORA")
    config.choice("bias", ("none",), "none")
    for setting in _UNSUPPORTED:
        if config.values.get(setting):
            raise CheckpointError(
                f"{config.where} uses {setting}, which export does not support; merge the adapter "
                "into its base with peft first."
            )
    rank = config.integer("r")
    divisor = math.sqrt(rank) if config.flag("use_rslora", False) else rank
    scale = config.number("lora_alpha") / divisor
    return Adapter(scale, _pairs(folder / "adapter_model.safetensors", rank))


def merge(
    tensors: Mapping[str, LazyTensor], adapter: Adapter, where: Path
) -> dict[str, LazyTensor]:
    """Raises CheckpointError where the adapter's weights do not fit the tensors."""
    misfits = [
        name
        for name, (a, b) in adapter.pairs.items()
        if name not in tensors or tensors[name].shape != (b.shape[0], a.shape[1])
    ]
    if misfits:
        listed = ", ".join(misfits[:10]) + (", ..." if len(misfits) > 10 else "")
        raise CheckpointError(
            f"The adapter in {where} does not fit its base at {listed}; give the base that it was "
            "trained on."
        )
    merged = dict(tensors)
    for name, (a, b) in adapter.pairs.items():
        weight = tensors[name]
        merged[name] = LazyTensor(weight.shape, partial(_merged, weight, a, b, adapter.scale))
    return merged


def _pairs(path: Path, rank: int) -> dict[str, tuple[LazyTensor, LazyTensor]]:
    sides: dict[str, dict[str, LazyTensor]] = {"A": {}, "B": {}}
    wrong = []
    for key, tensor in open_file(path).items():
        suffix = next((suffix for suffix in _SUFFIX if key.endswith(suffix)), None)
        side = _SUFFIX.get(suffix or "")
        rank_axis = 0 if side == "A" else 1
        right_shape = len(tensor.shape) == 2 and tensor.shape[rank_axis] == rank
        if suffix is None or side is None or not key.startswith(_PREFIX) or not right_shape:
            wrong.append(f"{key} {list(tensor.shape)}")
            continue
        module = key.removeprefix(_PREFIX).removesuffix(suffix)
        sides[side][canonical(module + ".weight")] = tensor
    wrong += sorted(sides["A"].keys() ^ sides["B"].keys())
    if wrong:
        raise CheckpointError(
            f"{path} holds what is no pair of LoRA matrices of rank {rank}: "
            f"{', '.join(wrong[:10])}; save the adapter with peft."
        )
    return {name: (a, sides["B"][name]) for name, a in sides["A"].items()}


def _merged(weight: LazyTensor, a: LazyTensor, b: LazyTensor, scale: float) -> np.ndarray[Any, Any]:
    update: np.ndarray[Any, Any] = b.read().astype(np.float32) @ a.read().astype(np.float32)
    return weight.read().astype(np.float32) + np.float32(scale) * update
