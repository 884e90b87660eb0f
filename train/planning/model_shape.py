"""The shape of a model from its configuration alone, on torch's meta device, without weights."""

from pathlib import Path

from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from llava_edge.core.bundle_config import ImageConfig
from llava_edge.errors import TrainingError
from llava_edge.hub.find_model import find_model
from llava_edge.train.inputs.picture_views import PictureViews
from llava_edge.train.models.init_checkpoint import open_init, tower_config
from llava_edge.train.models.language_weights import language_config
from llava_edge.train.models.model_config import build_empty, read_config, vision_part
from llava_edge.train.models.preprocessing import read_image_config
from llava_edge.train.models.tiling import read_tiles
from llava_edge.train.models.tower_shape import TowerShape, tower_shape
from llava_edge.train.planning.memory_estimate import DecoderShape, ModelShape
from llava_edge.train.planning.recipe_model_configs import SHIPPED_MODELS
from llava_edge.train.recipe import Init, Recipe


def model_shape(recipe: Recipe) -> ModelShape:
    """The shape of the model that a recipe joins.

    Raises CheckpointError if a model is neither here nor can be fetched, and TrainingError if
    it is no tower or no language model.
    """
    if recipe.init is not None:
        tower, views, decoder = _of_init(recipe, recipe.init)
    else:
        tower, views = _tower(recipe)
        decoder = decoder_shape(_config(recipe.language_model)[0], recipe.language_model)
    layers = 1 if recipe.projector == "linear" else 2
    hidden = decoder.hidden_size
    return ModelShape(
        decoder=decoder,
        tower=tower,
        views=views,
        projector_parameters=(tower.channels + 1) * hidden
        + (layers - 1) * (hidden + 1) * hidden
        + (hidden if views.tiles else 0),  # the newline
        projector_layers=layers,
    )


def _of_init(recipe: Recipe, init: Init) -> tuple[TowerShape, PictureViews, DecoderShape]:
    checkpoint = open_init(init, recipe.prompt)
    text = language_config(checkpoint.config.text, checkpoint.file)
    tower, views = _seen(recipe, tower_config(checkpoint), checkpoint.image)
    return tower, views, decoder_shape(text, init.checkpoint)


def _config(model: str) -> tuple[PretrainedConfig, Path]:
    """A model's configuration, and its folder, which a shipped recipe's model may not have."""
    if not Path(model).exists() and model in SHIPPED_MODELS:
        return AutoConfig.for_model(**SHIPPED_MODELS[model]), Path(model)
    folder = find_model(model, weights=False)
    return read_config(folder, model), folder


def _tower(recipe: Recipe) -> tuple[TowerShape, PictureViews]:
    config, folder = _config(recipe.vision_tower)
    config = vision_part(config, recipe.vision_tower)
    image = read_image_config(folder, config.model_type, config.image_size, recipe.image_mode)
    return _seen(recipe, config, image)


def _seen(
    recipe: Recipe, config: PretrainedConfig, image: ImageConfig
) -> tuple[TowerShape, PictureViews]:
    shape = tower_shape(config, image.size, recipe)
    tiles = read_tiles(recipe, config, image.size, shape)
    return shape, PictureViews(image, shape.image_tokens, tiles)


def decoder_shape(config: PretrainedConfig, model: str = "the language model") -> DecoderShape:
    """The shape of a causal language model; raises TrainingError for another kind of model."""
    causal = build_empty(AutoModelForCausalLM, config, model)
    text = config.get_text_config()
    heads = getattr(text, "num_attention_heads", None)
    if not heads:
        raise TrainingError(
            f"{model} is a {config.model_type}, which has no attention; choose a causal language "
            "model such as Llama, Qwen, Mistral or Phi-3."
        )
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
        positions=getattr(text, "max_position_embeddings", None),
        parameters=_parameters(causal),
        linears=tuple((m.out_features, m.in_features) for m in linears),
    )


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
