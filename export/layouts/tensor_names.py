"""The one spelling of a checkpoint's tensors, whoever wrote it."""

import re
from collections.abc import Mapping
from pathlib import Path

from llava_edge.errors import CheckpointError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.layouts.llava_config import LlavaConfig
from llava_edge.export.towers.known_towers import respell_tower
from llava_edge.export.towers.vision_tower import TOWER

EMBEDDING_TABLE, HEAD = "language_model.embed_tokens.weight", "lm_head.weight"
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
_BUFFERS = (".inv_freq", ".cos_cached", ".sin_cached", ".position_ids")  # what older code stored
_TEXT_MODEL = ("text_model.", "text_projection.", "visual_projection.", "logit_scale", "logit_bias")
_BESIDE_A_TOWER = tuple(f"{TOWER}.{part}" for part in _TEXT_MODEL)  # where all of a CLIP was saved
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
    if name == "image_newline":  # LLaVA-NeXT's, which stays in what is trained on without tiles
        return not config.grid_pinpoints
    left_over = name.endswith(_BUFFERS) or name.startswith(_BESIDE_A_TOWER)
    return left_over or config.tower.is_unused(name, config.feature_layers)
