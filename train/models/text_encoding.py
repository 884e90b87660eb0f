"""What a recipe's records are encoded with: its tokenizer, prompt format and image tokens."""

from pathlib import Path

from tokenizers import AddedToken
from tokenizers import Tokenizer as HfTokenizer
from transformers import PretrainedConfig

from llava_edge.core.tokenizer import Tokenizer
from llava_edge.errors import TrainingError
from llava_edge.export.layouts.checkpoint import Checkpoint
from llava_edge.hub.tokenizer_file import read_tokenizer_file
from llava_edge.train.inputs.labels import Encoding
from llava_edge.train.models.init_checkpoint import init_tokenizer, open_init, tower_config
from llava_edge.train.models.model_config import read_config, vision_part
from llava_edge.train.models.preprocessing import read_image_config
from llava_edge.train.models.tiling import read_tiles
from llava_edge.train.models.tower_shape import tower_shape
from llava_edge.train.recipe import Recipe


def read_encoding(recipe: Recipe) -> Encoding:
    """Read it from the small files of the models' folders, without any weights.

    Raises TrainingError if tower or tokenizer do not fit the recipe.
    """
    if recipe.init is not None:
        checkpoint = open_init(recipe.init, recipe.prompt)
        return init_encoding(recipe, checkpoint, init_tokenizer(checkpoint))
    tower = vision_part(
        read_config(Path(recipe.vision_tower), recipe.vision_tower), recipe.vision_tower
    )
    return make_encoding(recipe, tower, read_tokenizer_file(Path(recipe.language_model)))


def make_encoding(recipe: Recipe, tower: PretrainedConfig, tokenizer: HfTokenizer) -> Encoding:
    """Make it of a tower's configuration and a tokenizer, to which the image token is added.

    Raises TrainingError if they do not fit the recipe.
    """
    image = read_image_config(
        Path(recipe.vision_tower), tower.model_type, tower.image_size, recipe.image_mode
    )
    shape = tower_shape(tower, image.size, recipe)
    tiles = read_tiles(recipe, tower, image.size, shape)
    _check_prompt(tokenizer, recipe)
    id = add_image_token(tokenizer, recipe.image_token)
    return Encoding(
        Tokenizer(tokenizer), recipe.prompt_format, image, shape.image_tokens, id, tiles
    )


def init_encoding(recipe: Recipe, checkpoint: Checkpoint, tokenizer: HfTokenizer) -> Encoding:
    """Make it of the checkpoint that `init` names; the image token is added where it is missing."""
    tower, image = tower_config(checkpoint), checkpoint.image
    shape = tower_shape(tower, image.size, recipe)
    tiles = read_tiles(recipe, tower, image.size, shape)
    id = add_image_token(tokenizer, recipe.image_token)
    return Encoding(Tokenizer(tokenizer), checkpoint.prompt, image, shape.image_tokens, id, tiles)


def add_image_token(tokenizer: HfTokenizer, token: str) -> int:
    """The id of the image token, which is added to a vocabulary that lacks it."""
    if tokenizer.token_to_id(token) is None:
        tokenizer.add_special_tokens([AddedToken(token, special=True)])
    id: int = tokenizer.token_to_id(token)  # type: ignore[assignment]
    return id


def _check_prompt(tokenizer: HfTokenizer, recipe: Recipe) -> None:
    """Raise TrainingError where the vocabulary lacks a token of the recipe's prompt format."""
    prompt = recipe.prompt_format
    for token in filter(None, (prompt.bos, *prompt.stop)):
        if tokenizer.token_to_id(token) is None:
            raise TrainingError(
                f"The language model {recipe.language_model} has no token {token}, which the "
                f'prompt format "{prompt.name}" needs; set prompt to the format that the model '
                "was tuned with."
            )
