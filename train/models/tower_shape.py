"""The shape of a vision tower, found on torch's meta device: nothing is loaded or computed."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PretrainedConfig

from llava_edge.train.models.model_config import build_empty
from llava_edge.train.models.towers import check_rows
from llava_edge.train.recipe import Recipe


@dataclass(frozen=True)
class TowerShape:
    """How many image tokens and channels a view becomes, and what the tower takes for it."""

    image_tokens: int
    channels: int
    parameters: int
    activations: int  # values that a view leaves: the states, and a layer's insides
    kept: int = 0  # values that a view leaves for a backward pass: what each module yields
    linears: tuple[tuple[int, int], ...] = ()  # the layers' matrices (rows, columns)


def tower_shape(config: PretrainedConfig, size: int, recipe: Recipe) -> TowerShape:
    """The shape of a recipe's tower for pictures of `size` x `size` pixels.

    A layer's insides are taken as twice the largest output of any module in it. Raises
    TrainingError if it has no such rows as the recipe asks for.
    """
    check_rows(recipe, config)
    tower = build_empty(AutoModel, config, recipe.vision_tower)
    largest = _watch_outputs(tower)
    pixels = torch.zeros(1, 3, size, size, device="meta")
    with torch.no_grad():
        states = tower.eval()(pixels, output_hidden_states=True).hidden_states
    _, rows, channels = states[recipe.vision_feature_layer].shape
    return TowerShape(
        image_tokens=rows - (recipe.vision_feature_select_strategy == "default"),
        channels=channels,
        parameters=sum(parameter.numel() for parameter in tower.parameters()),
        activations=sum(state.numel() for state in states) + 2 * max(largest),
        kept=sum(largest),
        linears=tuple(
            (m.out_features, m.in_features) for m in tower.modules() if isinstance(m, nn.Linear)
        ),
    )


def _watch_outputs(tower: nn.Module) -> list[int]:
    """Fills with the number of values of each module's output, once the tower is called."""
    sizes: list[int] = []

    def watch(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.numel())

    for module in tower.modules():
        module.register_forward_hook(watch)
    return sizes
