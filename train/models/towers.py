"""The kinds of vision towers that are trained with: a new kind is a line of KINDS."""

from dataclasses import dataclass
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
from llava_edge.hub.preprocessor_config import HALF, UsualPreprocessing
from llava_edge.train.models.efficientnet_lite_model import EfficientNetLiteModel
from llava_edge.train.recipe import Recipe

_USUAL = UsualPreprocessing()
_IMAGENET = UsualPreprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), any_size=True)


@dataclass(frozen=True)
class TowerKind:
    """A kind's class, how it is shown pictures, and what is peculiar to it."""

    model: type[PreTrainedModel]
    usual: UsualPreprocessing = _USUAL
    has_class_token: bool = True
    nested: bool = False  # transformers 4 nests its tensors in vision_model
    channels_last: bool = False  # which convolutions are computed faster in


CLIP = TowerKind(CLIPVisionModel, nested=True)
_SIGLIP = TowerKind(
    SiglipVisionModel,
    UsualPreprocessing(HALF, HALF, "stretch"),
    has_class_token=False,
    nested=True,
)
KINDS = {  # by the folder's model_type; of a whole CLIP or SigLIP the vision part is taken
    "clip": CLIP,
    "clip_vision_model": CLIP,
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "dinov2": TowerKind(Dinov2Model, _IMAGENET),
    "dinov2_with_registers": TowerKind(Dinov2WithRegistersModel, _IMAGENET),
    "efficientnet_lite": TowerKind(
        EfficientNetLiteModel, has_class_token=False, channels_last=True
    ),
}


def load_tower(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Load a folder's vision tower; raises TrainingError if it is of no kind that is known here.

    Of a broken folder, transformers' own OSError or ValueError is raised.
    """
    name = AutoConfig.from_pretrained(folder).model_type
    if name not in KINDS:
        raise TrainingError(
            f"The vision tower {folder} is a {name}; give one of {', '.join(KINDS)}."
        )
    kind = KINDS[name]
    tower, report = kind.model.from_pretrained(folder, dtype=dtype, output_loading_info=True)
    missing = sorted(k for k in report["missing_keys"] if not k.endswith("num_batches_tracked"))
    if missing:
        raise TrainingError(
            f"The vision tower {folder} lacks {len(missing)} tensors, such as {missing[0]}; give a "
            "folder with all its weights."
        )
    return in_fast_layout(tower, kind)


def in_fast_layout(tower: PreTrainedModel, kind: TowerKind) -> PreTrainedModel:
    """The tower, with its weights as its kind is computed fastest."""
    if kind.channels_last:
        tower.to(memory_format=torch.channels_last)
    return tower


def check_rows(recipe: Recipe, config: PretrainedConfig) -> None:
    """Raise TrainingError if the recipe asks for rows that such a tower does not have."""
    where = f"The vision tower {recipe.vision_tower} ({config.model_type})"
    if recipe.vision_feature_select_strategy == "default" and recipe.init is None:
        if not KINDS.get(config.model_type, CLIP).has_class_token:
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
