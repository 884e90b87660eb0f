"""A recipe's models: found in folders, or fetched from the Hugging Face hub."""

from dataclasses import replace

from llava_edge.errors import CheckpointError, TrainingError
from llava_edge.hub.find_model import find_model
from llava_edge.train.models.init_checkpoint import open_init, take_over
from llava_edge.train.recipe import USUAL_PROMPT, Init, Recipe, require_files


def resolve_models(recipe: Recipe, *, weights: bool = True) -> Recipe:
    """The recipe with folders for its models; those that the hub names are fetched.

    With `init` it has the keys, too, that the checkpoint brings. Without `weights` only small files
    are fetched, but of `init` all, since its tensors say what it is. Raises TrainingError, before
    anything is fetched, where something that the recipe reads is missing.
    """
    require_files(recipe)
    try:
        if recipe.init is not None:
            return resolve_init(recipe, recipe.init)
        return replace(
            recipe,
            vision_tower=str(find_model(recipe.vision_tower, weights=weights)),
            language_model=str(find_model(recipe.language_model, weights=weights)),
            prompt=recipe.prompt or USUAL_PROMPT,
        )
    except CheckpointError as error:
        raise TrainingError(str(error)) from error


def resolve_init(recipe: Recipe, init: Init, *, weights: bool = True) -> Recipe:
    """The same for a recipe with `init`; raises CheckpointError where that cannot be opened."""

    def found(name: str | None) -> str | None:
        return None if name is None else str(find_model(name, weights=weights))

    checkpoint = str(find_model(init.checkpoint, weights=weights))
    own = Init(checkpoint, found(init.base), found(init.vision_tower))
    return take_over(replace(recipe, init=own), open_init(own, recipe.prompt))
