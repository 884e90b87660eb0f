"""`llava-edge train`: a recipe becomes a two-stage checkpoint."""

import errno
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from llava_edge.errors import TrainingError
from llava_edge.records import load_records
from llava_edge.train import stages
from llava_edge.train.checkpoint import load_projector, save_adapter, save_checkpoint
from llava_edge.train.loss_plot import plot_losses
from llava_edge.train.model import Learner, build, compute_dtype
from llava_edge.train.plan import make_plan, memory_line, world_size
from llava_edge.train.recipe import Recipe, Stage, load_recipe, resolve_models
from llava_edge.train.warm_start import warm_start

WRITTEN = ("warm_start", "stage1", "stage2", "adapter", "steps")  # the folders of a run


def train(
    recipe: Path | str,
    overrides: Iterable[str] = (),
    *,
    resume: bool = False,
    force: bool = False,
) -> Path:
    """Run a recipe's warm start and its two stages; returns the folder of the last checkpoint.

    `recipe` is a file or a shipped name, over which `key=value` overrides are set. Its `out`
    receives `stage1/` and `stage2/`, each a Hugging Face LLaVA checkpoint, `adapter/` where stage 2
    trained adapters, and `losses.jsonl` and `losses.png`. With `resume` a run goes on after the
    last step saved. Raises TrainingError for a recipe or record that is bad.
    """
    plan = resolve_models(load_recipe(recipe, overrides))
    console = Console(stderr=True)
    exact = compute_dtype(plan) == torch.float32
    settled = replace(plan, precision="fp32" if exact else "bf16")
    console.print(memory_line(make_plan(settled, world_size())))
    for part in plan.data:
        load_records(part)  # what is wrong with them is said now, not hours later
    _claim(plan.out, resume=resume, force=force)
    try:
        return _train(plan, console, resume=resume)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise TrainingError(
            f"The disk is full, so {plan.out} could not be written on; free some space and go on "
            "with --resume."
        ) from error


def _train(plan: Recipe, console: Console, *, resume: bool) -> Path:
    learner = build(plan)
    stage1, stage2 = plan.out / "stage1", plan.out / "stage2"
    if plan.stage1 is None:
        assert plan.projector_weights is not None
        load_projector(learner.model, plan.projector_weights)
    elif (stage1 / "config.json").exists():
        console.print(f"Stage 1 is done: {stage1}")
        load_projector(learner.model, stage1)
    else:
        _warm_start(plan, learner, console)
        console.print("Stage 1: the projector learns, all else is frozen")
        _run(plan, learner, plan.stage1, "stage1", resume=resume)
        save_checkpoint(learner, plan, stage1)
    if plan.stage2 is None:
        return stage1
    console.print("Stage 2: the projector and the language model learn")
    _run(plan, learner, plan.stage2, "stage2", resume=resume)
    if plan.stage2.lora:
        save_adapter(learner, plan, plan.out / "adapter")
        merged = learner.model.model.language_model.merge_and_unload()
        learner.model.model.language_model = merged
    save_checkpoint(learner, plan, stage2)
    return stage2


def _claim(out: Path, *, resume: bool, force: bool) -> None:
    """Make the run's folder, without what an old run left there if `force`."""
    if force and not resume:
        for name in WRITTEN:
            shutil.rmtree(out / name, ignore_errors=True)
    if not resume and any((out / name).exists() for name in WRITTEN):
        raise TrainingError(
            f"{out} already holds a run; go on with it by --resume, or begin anew by --force."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(
            f"The run's folder {out} cannot be made ({error.strerror}); name another as out."
        ) from error


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
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    plot_losses(rows, out / "losses.png")
