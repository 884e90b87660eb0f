"""A model's configuration, and the model it describes on torch's meta device."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PretrainedConfig

from llava_edge.errors import TrainingError


def read_config(folder: Path, model: str) -> PretrainedConfig:
    """What a folder's config.json says; raises TrainingError, which names the model."""
    try:
        return AutoConfig.for_model(**json.loads((folder / "config.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(
            f"{model} has no config.json that transformers reads ({' '.join(str(error).split())}); "
            "give a folder that save_pretrained has written."
        ) from error


def vision_part(config: PretrainedConfig, model: str) -> PretrainedConfig:
    """The configuration of a vision tower, also out of that of a whole CLIP or SigLIP.

    Raises TrainingError for a model that takes no pictures.
    """
    part: PretrainedConfig = getattr(config, "vision_config", config)
    if not hasattr(part, "image_size"):
        raise TrainingError(
            f"{model} is a {part.model_type}, which sees no pictures; give a vision model as "
            "vision_tower."
        )
    return part


def build_empty(auto: Any, config: PretrainedConfig, model: str) -> nn.Module:
    """The model that transformers' `auto` class builds of a configuration, without its weights.

    Raises TrainingError if it cannot build one.
    """
    try:
        with torch.device("meta"):
            built: nn.Module = auto.from_config(config)
    except ValueError as error:
        raise TrainingError(
            f"{model} is a {config.model_type}, which cannot take this part of a LLaVA "
            f"({' '.join(str(error).split())[:200]}); name another model."
        ) from error
    return built
