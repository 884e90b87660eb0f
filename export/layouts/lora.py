"""A peft LoRA adapter, merged into the tensors it adapts while they are read."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.formats.weight_files import open_file
from llava_edge.export.layouts.tensor_names import canonical

FILES = ("adapter_model.safetensors", "adapter_model.bin")
_PREFIX = "base_model.model."
_SUFFIX = {".lora_A.weight": "A", ".lora_B.weight": "B"}
_UNSUPPORTED = (  # settings by which an adapter is more than W + scale * B @ A
    "use_dora",
    "fan_in_fan_out",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "lora_bias",
)


@dataclass(frozen=True)
class Pair:
    """W becomes W + scale * B @ A, with A [rank, inputs] and B [outputs, rank]."""

    a: LazyTensor
    b: LazyTensor
    scale: float


@dataclass(frozen=True)
class Adapter:
    """The pairs by the canonical name of the weight they change, and tensors trained in full."""

    pairs: Mapping[str, Pair]
    replaced: Mapping[str, LazyTensor]


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
    path = next((folder / name for name in FILES if (folder / name).exists()), folder / FILES[0])
    return _read(config, path)


def merge(
    tensors: Mapping[str, LazyTensor], adapter: Adapter, where: Path
) -> dict[str, LazyTensor]:
    """Raises CheckpointError where the adapter's weights do not fit the tensors."""
    wanted: dict[str, tuple[int, ...]] = {
        name: (pair.b.shape[0], pair.a.shape[1]) for name, pair in adapter.pairs.items()
    }
    wanted |= {name: tensor.shape for name, tensor in adapter.replaced.items()}
    misfits = [
        f"{name} {list(shape)} ({_found(tensors, name)} in the base)"
        for name, shape in wanted.items()
        if name not in tensors or tensors[name].shape != shape
    ]
    if misfits:
        listed = ", ".join(misfits[:10]) + (
            f" and {len(misfits) - 10} more" if len(misfits) > 10 else ""
        )
        raise CheckpointError(
            f"The adapter in {where} does not fit its base at {listed}; give the base that it was "
            "trained on."
        )
    merged = {**tensors, **adapter.replaced}
    for name, pair in adapter.pairs.items():
        weight = tensors[name]
        merged[name] = LazyTensor(weight.shape, partial(_merged, weight, pair))
    return merged


def _found(tensors: Mapping[str, LazyTensor], name: str) -> str:
    return str(list(tensors[name].shape)) if name in tensors else "none"


def _read(config: Section, path: Path) -> Adapter:
    sides: dict[str, dict[str, LazyTensor]] = {"A": {}, "B": {}}
    replaced, wrong = {}, []
    for key, tensor in open_file(path).items():
        suffix = next((suffix for suffix in _SUFFIX if key.endswith(suffix)), None)
        name = key.removeprefix(_PREFIX)
        if not key.startswith(_PREFIX):
            wrong.append(key)
        elif suffix is None:
            replaced[canonical(name)] = tensor
        else:
            sides[_SUFFIX[suffix]][name.removesuffix(suffix)] = tensor
    pairs = {}
    for module in sides["A"].keys() | sides["B"].keys():
        a, b = sides["A"].get(module), sides["B"].get(module)
        rank, alpha = _rank(config, module), _alpha(config, module)
        if a is None or b is None or a.shape[:1] != (rank,) or b.shape[1:] != (rank,):
            shapes = " and ".join(str(list(side.shape)) if side else "nothing" for side in (a, b))
            wrong.append(f"{module} {shapes}")
            continue
        divisor = math.sqrt(rank) if config.flag("use_rslora", False) else rank
        pairs[canonical(module + ".weight")] = Pair(a, b, alpha / divisor)
    if wrong:
        raise CheckpointError(
            f"{path} holds tensors that are no pair of LoRA matrices of the rank in "
            f"{config.where}: {', '.join(sorted(wrong)[:10])}; save the adapter with peft."
        )
    return Adapter(dict(sorted(pairs.items())), replaced)


def _rank(config: Section, module: str) -> int:
    pattern = _pattern(config, "rank_pattern", module)
    return config.integer("r") if pattern is None else pattern.integer("value")


def _alpha(config: Section, module: str) -> float:
    pattern = _pattern(config, "alpha_pattern", module)
    return config.number("lora_alpha") if pattern is None else pattern.number("value")


def _pattern(config: Section, key: str, module: str) -> Section | None:
    """The entry of a peft pattern that the module's name ends with."""
    if not config.has(key):
        return None
    patterns = config.section(key).values
    for pattern, value in patterns.items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            return Section({"value": value}, f"{key} in {config.where}")
    return None


def _merged(weight: LazyTensor, pair: Pair) -> np.ndarray[Any, Any]:
    update = pair.b.read().astype(np.float32) @ pair.a.read().astype(np.float32)
    result: np.ndarray[Any, Any] = weight.read().astype(np.float32)
    result += np.float32(pair.scale) * update
    return result
