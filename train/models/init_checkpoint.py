"""The LLaVA checkpoint that a recipe's `init` names: opened as export opens it, or refused."""

from dataclasses import replace
from pathlib import Path

from tokenizers import Tokenizer
from transformers import PretrainedConfig

from llava_edge.errors import CheckpointError, TrainingError, UsageError
from llava_edge.export.layouts.checkpoint import Checkpoint, open_checkpoint
from llava_edge.hub.find_model import hub_name
from llava_edge.train.recipe import Init, Recipe

USUAL_TOKEN = "<image>"
_OPTIONS = {  # of the command line, whose words an error has, and where a recipe says the same
    "--base": "init.base",
    "--vision-tower": "init.vision_tower",
    "--prompt": "the key prompt",
}


def open_init(init: Init, prompt: str | None) -> Checkpoint:
    """Open it, with a prompt format over its own if one is named.

    Raises CheckpointError where it is broken or of no kind that export reads, TrainingError where
    training cannot continue it.
    """
    try:
        checkpoint = open_checkpoint(
            init.checkpoint, base=init.base, vision_tower=init.vision_tower, prompt=prompt
        )
    except (CheckpointError, UsageError) as error:
        words = str(error)
        for option, key in _OPTIONS.items():
            words = words.replace(option, key)
        raise CheckpointError(words) from error
    if problem := _problem(checkpoint):
        raise TrainingError(f"The checkpoint {init.checkpoint} {problem}.")
    return checkpoint


def take_over(recipe: Recipe, checkpoint: Checkpoint) -> Recipe:
    """The recipe with the keys that its `init` brings, and its folder in the place of models."""
    config = checkpoint.config
    return replace(
        recipe,
        vision_tower=str(checkpoint.folder),
        language_model=str(checkpoint.folder),
        projector="linear" if config.projector_layers == 1 else "mlp2x_gelu",
        vision_feature_layer=config.feature_layers[0],
        vision_feature_select_strategy="default" if config.drop_first_row else "full",
        image_grid_pinpoints=config.grid_pinpoints,
        image_token=image_token(checkpoint),
    )


def tower_config(checkpoint: Checkpoint) -> PretrainedConfig:
    """The vision tower's configuration."""
    config: PretrainedConfig = checkpoint.config.tower.transformers_config()
    return config


def init_name(checkpoint: Checkpoint) -> str:
    """The hub's name of it, or else its folder's."""
    return hub_name(checkpoint.folder) or checkpoint.folder.resolve().name


def init_line(checkpoint: Checkpoint) -> str:
    """What a run takes from it, in one line."""
    image, name = checkpoint.image, hub_name(checkpoint.folder) or checkpoint.folder
    what = "tiles" if checkpoint.config.grid_pinpoints else "pictures"
    return (
        f"Begins with {name}: prompt {checkpoint.prompt.name}, {what} of "
        f"{image.size} x {image.size} pixels ({image.mode}), {checkpoint.config.image_tokens} "
        "image tokens each"
    )


def image_token(checkpoint: Checkpoint) -> str:
    """What stands for a picture's rows; the original LLaVA's vocabulary has no token for them."""
    for key in ("image_token_index", "image_token_id"):
        id = checkpoint.file.values.get(key)
        if isinstance(id, int) and id >= 0 and (token := checkpoint.tokenizer.id_to_token(id)):
            return token
    return USUAL_TOKEN


def init_tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    """A copy of its own, to which tokens may be added."""
    return Tokenizer.from_str(checkpoint.tokenizer.to_str())


def is_one_folder(checkpoint: Checkpoint) -> bool:
    """Whether its folder holds all of it, as transformers lays it out."""
    folder = checkpoint.folder
    beside = any((folder / name).exists() for name in ("adapter_config.json", "base.json"))
    own = Path(checkpoint.file.where).parent == folder
    return own and not beside and checkpoint.file.has("vision_config")


def _problem(checkpoint: Checkpoint) -> str | None:
    """Why training cannot continue it, and the way out."""
    config = checkpoint.config
    if checkpoint.method or any(t.blocks or t.unkept for t in checkpoint.tensors.values()):
        return "is quantized already, but training needs full weights; give what it was made from"
    if len(config.feature_layers) > 1:
        return "joins several layers of its tower, but training takes one; give another"
    if config.projector_layers > 2:
        return (
            f"has a projector of {config.projector_layers} layers, but training has one or two; "
            "give another"
        )
    return None
