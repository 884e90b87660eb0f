"""`llava-edge train`: a recipe becomes a two-stage checkpoint."""

from collections.abc import Iterable
from pathlib import Path

from llava_edge.core.extras import needed_by
from llava_edge.train.recipe import load_recipe, require_files


def train(
    recipe: Path | str,
    overrides: Iterable[str] = (),
    *,
    resume: bool = False,
    force: bool = False,
) -> Path:
    """Train a LLaVA model as a recipe says; returns the folder of the last stage's checkpoint.

    The recipe's warm start, if it has one, and its stages run one after the other. Each writes a
    Hugging Face LLaVA checkpoint, which `llava_edge.export.export` reads, into the recipe's `out`:

    - `stage1/` and `stage2/`: the checkpoints;
    - `adapter/`: the LoRA adapter by itself, where stage 2 trained one;
    - `run.json`: the recipe with every default, versions, device, models, data and seed;
    - `log.jsonl`, `losses.png` and `tensorboard/`: what was reported on the way.

    Started by `torchrun`, the processes train together. torch is imported once the recipe is read.

    Args:
        recipe: A TOML file, or the name of a shipped recipe, such as "v1.5-lora".
        overrides: `key=value` settings over the recipe's own, such as "stage2.epochs=2". Paths in
            them are relative to the current directory, those in a file to the file's folder.
        resume: Go on with the run in `out` after the last step that it saved.
        force: Begin anew, and remove the run that is in `out`.

    Raises:
        TrainingError: The recipe is wrong or names files that do not exist, `out` holds a run and
            neither `resume` nor `force` is given, or something broke while a stage ran.
        RecordError: A file of records cannot be read, or a record in it is bad.
        PictureError: A picture that a record names is missing or broken.
        LlavaEdgeError: A library that training needs is not installed.

    Example:
        >>> from llava_edge.train import train
        >>> folder = train("recipe.toml", ["stage2.epochs=2", "out=runs/second"])
        >>> folder
        PosixPath('runs/second/stage2')
    """
    given = load_recipe(recipe, overrides)
    require_files(given)
    with needed_by("Training", "train"):
        from llava_edge.train.run_recipe import run_recipe
    return run_recipe(given, resume=resume, force=force)
