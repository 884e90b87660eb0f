"""The one spelling of a checkpoint's tensors, whoever wrote it."""

import re
from collections.abc import Mapping
from pathlib import Path

from llava_edge.errors import CheckpointError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.layouts.llava_config import LlavaConfig
from llava_edge.export.towers.known_towers import respell_tower

_PREFIXES = (  # the first that fits is replaced
    ("model.mm_projector.", "multi_modal_projector."),  # the original LLaVA's
    ("mm_projector.", "multi_modal_projector."),
    ("model.vision_tower.vision_tower.", "vision_tower."),
    ("model.language_model.", "language_model."),
    ("model.vision_tower.", "vision_tower."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("model.image_newline", "image_newline"),
    ("language_model.model.", "language_model."),
    ("language_model.lm_head.", "lm_head."),
    ("model.", "language_model."),  # a language model that stands alone
)
_SEQUENTIAL = re.compile(r"multi_modal_projector\.(?:(\d+)\.)?(weight|bias)")


def canonical(name: str) -> str:
    """Respell a tensor's name as LLaVA checkpoints, old and new, or a lone language model give it.

    >>> canonical("model.vision_tower.vision_model.post_layernorm.bias")
    'vision_tower.post_layernorm.bias'
    >>> canonical("model.mm_projector.2.weight")
    'multi_modal_projector.linear_2.weight'
    """
    name = name.removeprefix("base_model.model.")  # peft's
    for prefix, replacement in _PREFIXES:
        if name.startswith(prefix):
            name = replacement + name.removeprefix(prefix)
            break
    if match := _SEQUENTIAL.fullmatch(name):  # every other module is a GELU
        return f"multi_modal_projector.linear_{int(match[1] or 0) // 2 + 1}.{match[2]}"
    return respell_tower(name)


def respell(tensors: Mapping[str, LazyTensor], folder: Path) -> dict[str, LazyTensor]:
    """Raises CheckpointError where two of a folder's names mean the same tensor."""
    respelled: dict[str, LazyTensor] = {}
    for name, tensor in tensors.items():
        if canonical(name) in respelled:
            raise CheckpointError(
                f"{folder} holds {canonical(name)} twice, under two spellings; save the "
                "checkpoint again."
            )
        respelled[canonical(name)] = tensor
    return respelled


def unused(name: str, config: LlavaConfig) -> bool:
    """Whether real checkpoints hold this tensor although nothing is computed from it."""
    rotary = name.endswith(".inv_freq")  # of old language models
    return rotary or config.tower.is_unused(name, config.feature_layers)
