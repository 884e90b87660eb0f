"""The shape of a model from its configuration alone, on torch's meta device: nothing is loaded."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PretrainedConfig

from llava_edge.errors import TrainingError
from llava_edge.hub import find_model
from llava_edge.train.models import efficientnet_lite  # noqa: F401  (registers the tower)
from llava_edge.train.planning.memory import DecoderShape, ModelShape
from llava_edge.train.planning.shipped_models import SHIPPED_MODELS
from llava_edge.train.recipe import Recipe


def model_shape(recipe: Recipe) -> ModelShape:
    """The shape of what a recipe joins.

    Raises CheckpointError where a model is neither here nor fetched, and TrainingError where its
    configuration is of no tower or language model.
    """
    tower, size = _tower(recipe)
    image_tokens, feature_size, activations = _run_tower(tower, size, recipe)
    decoder = decoder_shape(_config(recipe.language_model), recipe.language_model)
    layers = 1 if recipe.projector == "linear" else 2
    hidden = decoder.hidden_size
    return ModelShape(
        decoder=decoder,
        tower_parameters=_parameters(tower),
        tower_activations=activations,
        image_tokens=image_tokens,
        feature_size=feature_size,
        projector_parameters=(feature_size + 1) * hidden + (layers - 1) * (hidden + 1) * hidden,
        projector_layers=layers,
    )


def _config(model: str) -> PretrainedConfig:
    """Of a folder, a model that a shipped recipe names, or one of the hub (a small file)."""
    if not Path(model).exists() and model in SHIPPED_MODELS:
        return AutoConfig.for_model(**SHIPPED_MODELS[model])
    folder = find_model(model, weights=False)
    try:
        return AutoConfig.for_model(**json.loads((folder / "config.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(
            f"{model} has no config.json that transformers reads ({' '.join(str(error).split())}); "
            "give a folder that save_pretrained has written."
        ) from error


def _tower(recipe: Recipe) -> tuple[nn.Module, int]:
    config = _config(recipe.vision_tower)
    config = getattr(config, "vision_config", config)  # of a CLIP with its text model
    if not hasattr(config, "image_size"):
        raise TrainingError(
            f"{recipe.vision_tower} is a {config.model_type}, which sees no pictures; give a CLIP, "
            "SigLIP, DINOv2 or EfficientNet-lite as vision_tower."
        )
    return _build(AutoModel, config, recipe.vision_tower), config.image_size


@torch.no_grad()
def _run_tower(tower: nn.Module, size: int, recipe: Recipe) -> tuple[int, int, int]:
    """Image tokens, their size, and the values that one picture leaves: states, a layer's insides.

    A layer's insides are taken as twice the largest output of any module in it.
    """
    largest = 0

    def watch(_module: nn.Module, _inputs: Any, output: Any) -> None:
        nonlocal largest
        largest = max(largest, output.numel() if isinstance(output, Tensor) else 0)

    for module in tower.modules():
        module.register_forward_hook(watch)
    pixels = torch.zeros(1, 3, size, size, device="meta")
    states = tower.eval()(pixels, output_hidden_states=True).hidden_states
    layer = recipe.vision_feature_layer
    if not -len(states) <= layer < len(states):
        raise TrainingError(
            f"vision_feature_layer is {layer}, but {recipe.vision_tower} has {len(states)} states; "
            "name one of them, such as -2."
        )
    _, rows, channels = states[layer].shape
    dropped = 1 if recipe.vision_feature_select_strategy == "default" else 0
    return rows - dropped, channels, sum(state.numel() for state in states) + 2 * largest


def decoder_shape(config: PretrainedConfig, model: str = "the language model") -> DecoderShape:
    """The shape of a causal language model; raises TrainingError where it is none."""
    causal = _build(AutoModelForCausalLM, config, model)
    text = config.get_text_config()
    heads = text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // heads
    head = causal.get_output_embeddings()
    linears = [m for m in causal.modules() if isinstance(m, nn.Linear) and m is not head]
    return DecoderShape(
        hidden_size=text.hidden_size,
        layers=text.num_hidden_layers,
        heads=heads,
        query_size=heads * size,
        kv_size=(getattr(text, "num_key_value_heads", None) or heads) * size,
        mlp_size=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        vocab_size=text.vocab_size,
        parameters=_parameters(causal),
        linears=tuple((m.out_features, m.in_features) for m in linears),
    )


def _build(auto: Any, config: PretrainedConfig, model: str) -> nn.Module:
    try:
        with torch.device("meta"):
            built: nn.Module = auto.from_config(config)
    except ValueError as error:
        raise TrainingError(
            f"{model} is a {config.model_type}, which cannot take this part of a LLaVA "
            f"({' '.join(str(error).split())[:200]}); name another model."
        ) from error
    return built


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
