"""A vision tower that learns: in full or through adapters, as far as its features are used."""

import warnings

import torch
from torch import nn

from llava_edge.errors import TrainingError
from llava_edge.train.models.adapters import attach
from llava_edge.train.models.learner import tower_rows
from llava_edge.train.models.llava_kind import AnyLlava
from llava_edge.train.recipe import Stage


def prepare_tower(llava: AnyLlava, stage: Stage) -> None:
    """Let the tower learn if the stage says so; the layers after those that are used stay frozen.

    Raises TrainingError where the tower has no linear layers for adapters.
    """
    if not stage.vision_tower_lr:
        return
    tower = llava.model.vision_tower
    if stage.vision_tower_lora is None:
        tower.float().requires_grad_(True)
    elif any(isinstance(module, nn.Linear) for module in tower.modules()):
        llava.model.vision_tower = attach(tower, stage.vision_tower_lora)
    else:
        raise TrainingError(
            f"The vision tower ({tower.config.model_type}) has no linear layers for adapters; "
            "leave out vision_tower_lora, and it learns in full."
        )
    if stage.gradient_checkpointing is True and tower.supports_gradient_checkpointing:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of its new name
            tower.gradient_checkpointing_enable({"use_reentrant": False})
    _freeze_unused(llava)


def _freeze_unused(llava: AnyLlava) -> None:
    """Freeze what no gradient reaches, such as the last layer: several devices would wait for it.

    It is found by a blank picture.
    """
    tower = llava.model.vision_tower
    size = llava.config.vision_config.image_size
    learned = [parameter for parameter in tower.parameters() if parameter.requires_grad]
    with torch.enable_grad():
        rows = tower_rows(llava, torch.zeros(1, 3, size, size))
        gradients = torch.autograd.grad(rows.float().sum(), learned, allow_unused=True)
    for parameter, gradient in zip(learned, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)
