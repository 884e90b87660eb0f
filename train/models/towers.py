"""Vision towers: CLIP, SigLIP and DINOv2 of transformers, and EfficientNet-lite."""

from pathlib import Path

import torch
from torch import nn
from transformers import (
    AutoConfig,
    CLIPVisionModel,
    Dinov2Model,
    Dinov2WithRegistersModel,
    PretrainedConfig,
    PreTrainedModel,
    SiglipVisionModel,
)

from llava_edge.errors import TrainingError
from llava_edge.train.models.efficientnet_lite_model import EfficientNetLiteModel
from llava_edge.train.recipe import Recipe

_CLASSES = {  # by the folder's model_type; of a whole CLIP or SigLIP the vision part is taken
    "clip": CLIPVisionModel,
    "clip_vision_model": CLIPVisionModel,
    "siglip": SiglipVisionModel,
    "siglip_vision_model": SiglipVisionModel,
    "dinov2": Dinov2Model,
    "dinov2_with_registers": Dinov2WithRegistersModel,
    "efficientnet_lite": EfficientNetLiteModel,
}
_WITHOUT_CLASS_TOKEN = ("siglip_vision_model", "efficientnet_lite")


def load_tower(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Load a folder's vision tower; raises TrainingError if it is of no kind that is known here.

    Of a broken folder, transformers' own OSError or ValueError is raised.
    """
    kind = AutoConfig.from_pretrained(folder).model_type
    if kind not in _CLASSES:
        raise TrainingError(
            f"The vision tower {folder} is a {kind}; give one of {', '.join(_CLASSES)}."
        )
    tower, report = _CLASSES[kind].from_pretrained(folder, dtype=dtype, output_loading_info=True)
    missing = sorted(k for k in report["missing_keys"] if not k.endswith("num_batches_tracked"))
    if missing:
        raise TrainingError(
            f"The vision tower {folder} lacks {len(missing)} tensors, such as {missing[0]}; give a "
            "folder with all its weights."
        )
    if kind == "efficientnet_lite":
        tower.to(memory_format=torch.channels_last)
    return tower


def check_rows(recipe: Recipe, config: PretrainedConfig) -> None:
    """Raise TrainingError if the recipe asks for rows that such a tower does not have."""
    where = f"The vision tower {recipe.vision_tower} ({config.model_type})"
    if recipe.vision_feature_select_strategy == "default":
        if config.model_type in _WITHOUT_CLASS_TOKEN:
            raise TrainingError(
                f'{where} has no class token, which vision_feature_select_strategy "default" '
                'drops; set it to "full".'
            )
    states = getattr(config, "num_hidden_layers", 0) + 1  # the embeddings are one; a CNN has one
    if not -states <= recipe.vision_feature_layer < states:
        raise TrainingError(
            f"{where} yields {states} layers of features, but vision_feature_layer is "
            f"{recipe.vision_feature_layer}; give one of {-states} to {states - 1}."
        )


def patch_size(tower: nn.Module, image_size: int, rows: int) -> int:
    """Pixels along a side of what one row stands for; a CNN's rows form a square."""
    size: int = getattr(tower.config, "patch_size", None) or image_size // round(rows**0.5)
    return size
