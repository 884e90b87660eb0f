"""The one spelling of a checkpoint's tensors, whoever wrote it."""

import re
from collections.abc import Mapping
from pathlib import Path

from llava_edge.errors import CheckpointError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.layouts.llava_config import LlavaConfig
from llava_edge.export.layouts.tensor_shapes import depth
from llava_edge.export.towers.tower_config import EfficientNetLiteConfig

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
_DINOV2 = re.compile(r"(vision_tower\.encoder\.layer\.\d+\.attention)\.([qkvo])_proj\.(.*)")
_DINOV2_PARTS = {
    "q": "attention.query",
    "k": "attention.key",
    "v": "attention.value",
    "o": "output.dense",
}
_UNUSED = re.compile(
    r".*\.(position_ids|num_batches_tracked|inv_freq)"
    r"|vision_tower\.(post_layernorm|layernorm|head)\..*"
    r"|vision_tower\.embeddings\.mask_token"
)
_TOWER_LAYER = re.compile(r"vision_tower\.encoder\.layers?\.(\d+)\..*")


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
    name = name.replace("vision_tower.vision_model.", "vision_tower.", 1)
    if match := _SEQUENTIAL.fullmatch(name):  # every other module is a GELU
        return f"multi_modal_projector.linear_{int(match[1] or 0) // 2 + 1}.{match[2]}"
    if match := _DINOV2.fullmatch(name):
        return f"{match[1]}.{_DINOV2_PARTS[match[2]]}.{match[3]}"
    return name


def respell(tensors: Mapping[str, LazyTensor], folder: Path) -> dict[str, LazyTensor]:
    """Raises CheckpointError where two of a folder's names mean the same tensor."""
    respelled: dict[str, LazyTensor] = {}
    for name, tensor in tensors.items():
        if canonical(name) in respelled:
            raise CheckpointError(
                f"{folder} holds {canonical(name)} twice, under two spellings; save the "
                "checkpoint anew."
            )
        respelled[canonical(name)] = tensor
    return respelled


def unused(name: str, config: LlavaConfig) -> bool:
    """Whether real checkpoints hold this tensor although nothing is computed from it."""
    layer = _TOWER_LAYER.fullmatch(name)
    if layer is not None and not isinstance(config.tower, EfficientNetLiteConfig):
        return int(layer[1]) >= depth(config.tower, config)
    return _UNUSED.fullmatch(name) is not None
