"""`llava-edge train`: a recipe becomes a two-stage checkpoint."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from llava_edge.errors import TrainingError
from llava_edge.train import stages
from llava_edge.train.checkpoint import load_projector, save_adapter, save_checkpoint
from llava_edge.train.loss_plot import plot_losses
from llava_edge.train.model import Learner, build
from llava_edge.train.recipe import Recipe, Stage, load_recipe
from llava_edge.train.warm_start import warm_start


def train(recipe: Path, *, resume: bool = False, force: bool = False) -> Path:
    """Run a recipe's warm start and its two stages; returns the folder of the last checkpoint.

    The recipe's `out` receives `stage1/` and `stage2/`, each a Hugging Face LLaVA checkpoint,
    `adapter/` where stage 2 trained adapters, and `losses.jsonl` and `losses.png`. With `resume` a
    run goes on after the last step saved. Raises TrainingError for a recipe or record that is bad.
    """
    plan = load_recipe(recipe)
    _claim(plan.out, resume=resume, force=force)
    console = Console(stderr=True)
    learner = build(plan)
    final = plan.out / "stage1"
    if (final / "config.json").exists():
        console.print(f"Stage 1 is done: {final}")
        load_projector(learner.model, final)
    else:
        _warm_start(plan, learner, console)
        console.print("Stage 1: the projector learns, all else is frozen")
        _run(plan, learner, plan.stage1, "stage1", resume=resume)
        save_checkpoint(learner, plan, final)
    console.print("Stage 2: the projector and the language model learn")
    _run(plan, learner, plan.stage2, "stage2", resume=resume)
    if plan.stage2.lora:
        save_adapter(learner, plan, plan.out / "adapter")
        merged = learner.model.model.language_model.merge_and_unload()
        learner.model.model.language_model = merged
    save_checkpoint(learner, plan, plan.out / "stage2")
    return plan.out / "stage2"


def _claim(out: Path, *, resume: bool, force: bool) -> None:
    if out.exists() and force and not resume:
        shutil.rmtree(out)
    if out.exists() and any(out.iterdir()) and not resume:
        raise TrainingError(
            f"{out} already holds a run; go on with it by --resume, or begin anew by --force."
        )
    out.mkdir(parents=True, exist_ok=True)


def _warm_start(recipe: Recipe, learner: Learner, console: Console) -> None:
    if recipe.warm_start is None:
        return
    kept = recipe.out / "warm_start"
    if (kept / "config.json").exists():
        load_projector(learner.model, kept)
        return
    accuracy = warm_start(learner, recipe.warm_start)
    console.print(f"Warm start: {accuracy:.1%} of the labelled rows are nearest to their word")
    save_checkpoint(learner, recipe, kept)


def _run(recipe: Recipe, learner: Learner, stage: Stage, name: str, *, resume: bool) -> None:
    model = stages.prepare(learner, stage)
    log = stages.run(model, learner, recipe, stage, recipe.out / "steps" / name, resume=resume)
    _write_losses(recipe.out, name, log)


def _write_losses(out: Path, stage: str, log: Sequence[dict[str, float]]) -> None:
    path = out / "losses.jsonl"
    old = path.read_text().splitlines() if path.exists() else []
    rows = [row for row in map(json.loads, old) if row["stage"] != stage]
    rows += [{"stage": stage, **row} for row in log if "loss" in row]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plot_losses(rows, out / "losses.png")
