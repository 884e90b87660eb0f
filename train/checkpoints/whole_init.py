"""`init` in one folder: adapters, and a language model in 4 bits, need a base to read again."""

from rich.console import Console

from llava_edge.train.checkpoints.save import save_checkpoint
from llava_edge.train.models.init_checkpoint import is_one_folder, open_init
from llava_edge.train.models.learner import build
from llava_edge.train.recipe import Init, Recipe
from llava_edge.train.resolve_models import resolve_init

FOLDER = "init"  # in the run's folder


def whole_init(recipe: Recipe, console: Console) -> Recipe:
    """The recipe on a whole checkpoint; what lies in several folders is joined in the run's own.

    It is written once, in the precision that is trained in.
    """
    read_again = any(stage.lora or stage.quantize for stage in recipe.stages.values())
    if recipe.init is None or not read_again:
        return recipe
    if is_one_folder(open_init(recipe.init, recipe.prompt)):
        return recipe
    folder = recipe.out / FOLDER
    if not folder.exists():
        console.print(f"init is joined in {folder}, to be read again with what is trained")
        save_checkpoint(build(recipe), recipe, folder)
    return resolve_init(recipe, Init(str(folder)))
