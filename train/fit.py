"""`llava-edge train`: a recipe becomes a two-stage checkpoint."""

import errno
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import PartialState
from rich.console import Console
from torch import Tensor

from llava_edge.errors import TrainingError
from llava_edge.records import load_records
from llava_edge.train import stages
from llava_edge.train.checkpoint import save_adapter, save_checkpoint
from llava_edge.train.dataset import RecordDataset
from llava_edge.train.journal import LOG, PLOT, TENSORBOARD
from llava_edge.train.model import Learner, build
from llava_edge.train.projector_file import load_projector
from llava_edge.train.recipe import Recipe, Source, Stage, load_recipe
from llava_edge.train.warm_start import warm_start

CHECKPOINTS = ("warm_start", "stage1", "stage2", "adapter", "steps")
WRITTEN = (*CHECKPOINTS, TENSORBOARD, LOG, PLOT)  # all of a run


def train(
    recipe: Path | str,
    overrides: Iterable[str] = (),
    *,
    resume: bool = False,
    force: bool = False,
) -> Path:
    """Run a recipe's warm start and its stages; returns the folder of the last checkpoint.

    `recipe` is a file or a shipped name, over which `key=value` overrides are set. Its `out`
    receives `stage1/` and `stage2/`, each a Hugging Face LLaVA checkpoint, `adapter/` where stage 2
    trained adapters, and `log.jsonl`, `losses.png` and `tensorboard/`.
    With `resume` a run goes on after the last step saved. Started by torchrun, its processes train
    together. Raises TrainingError for a recipe or record that is bad.
    """
    plan = load_recipe(recipe)
    processes = PartialState(cpu=not torch.cuda.is_available())
    for part in plan.data:
        load_records(part)  # what is wrong with them is said now, not hours later
    with processes.main_process_first():
        if processes.is_main_process:
            _claim(plan.out, resume=resume, force=force)
    try:
        return _Run(plan, processes, resume=resume).finish()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise TrainingError(
            f"The disk is full, so {plan.out} could not be written on; free some space and go on "
            "with --resume."
        ) from error


class _Run:
    """A recipe under way: what is done is kept, what is not is trained."""

    def __init__(self, recipe: Recipe, processes: PartialState, *, resume: bool) -> None:
        self._recipe = recipe
        self._processes = processes
        self._resume = resume
        self._console = Console(stderr=True, quiet=not processes.is_main_process)
        self._learner = build(recipe)

    def finish(self) -> Path:
        recipe = self._recipe
        if recipe.projector_weights:
            load_projector(self._learner.model, recipe.projector_weights)
        for name, stage in recipe.stages.items():
            folder = recipe.out / name
            if (folder / "config.json").exists():
                self._console.print(f"{name} is done: {folder}")
                load_projector(self._learner.model, folder)
            else:
                if name == "stage1":
                    self._warm_start()
                self._train(name, stage)
        return folder

    def _warm_start(self) -> None:
        """Begin with a projector that has seen objects and their names, where the recipe says so.

        One process trains it, and all read what it has kept.
        """
        recipe, kept = self._recipe, self._recipe.out / "warm_start"
        if recipe.warm_start is None:
            return
        with self._processes.main_process_first():
            if not (kept / "config.json").exists():
                accuracy = warm_start(self._learner, recipe.warm_start)
                self._console.print(
                    f"Warm start: {accuracy:.1%} of the labelled rows are nearest to their word"
                )
                save_checkpoint(self._learner, recipe, kept)
        load_projector(self._learner.model, kept)

    def _train(self, name: str, stage: Stage) -> None:
        recipe = self._recipe
        self._console.print(f"{name}: {_what_learns(stage)}")
        torch.manual_seed(recipe.seed)  # adapters begin alike in every process
        model = stages.prepare(self._learner, stage)
        trainer = stages.run(
            model,
            recipe,
            name,
            self._dataset(stage.data, stage),
            self._dataset(stage.evaluation, stage) if stage.evaluation else None,
            self._console,
            resume=self._resume,
        )
        trained = trainer.trained_state()
        if recipe.parallel == "fsdp" and self._processes.num_processes > 1:
            self._learner = _whole(recipe, stage, trained)
        if self._processes.is_main_process:
            self._save(name, stage)
        self._processes.wait_for_everyone()
        load_projector(self._learner.model, recipe.out / name)  # of shards, one process had it

    def _dataset(self, sources: Sequence[Source], stage: Stage) -> RecordDataset:
        return RecordDataset(
            [record for source in sources for record in load_records(source)],
            self._learner.encoding,
            place=stage.picture_place,
            seed=self._recipe.seed,
        )

    def _save(self, name: str, stage: Stage) -> None:
        """Write the stage's checkpoint, with adapters both apart and merged."""
        recipe, learner = self._recipe, self._learner
        if stage.lora:
            save_adapter(learner, recipe, recipe.out / "adapter")
            merged = learner.model.model.language_model.merge_and_unload()
            learner.model.model.language_model = merged
        save_checkpoint(learner, recipe, recipe.out / name)


def _what_learns(stage: Stage) -> str:
    if not stage.language_model_lr:
        return "the projector learns, all else is frozen"
    how = " through adapters" if stage.lora else ""
    both = "the projector and the language model learn" if stage.projector_lr else ""
    return (both or "the language model learns") + how


def _whole(recipe: Recipe, stage: Stage, trained: dict[str, Tensor]) -> Learner:
    """The model anew and in one piece, with what the processes have trained in parts."""
    learner = build(recipe)
    model = stages.prepare(learner, stage)
    if trained:  # the first process has it
        model.load_state_dict(trained, strict=False)
    return learner


def _claim(out: Path, *, resume: bool, force: bool) -> None:
    """Make the run's folder, without what an old run left there if `force`."""
    if force and not resume:
        for name in WRITTEN:
            shutil.rmtree(out / name, ignore_errors=True)
            (out / name).unlink(missing_ok=True)
    if not resume and any((out / name).exists() for name in CHECKPOINTS):
        raise TrainingError(
            f"{out} already holds a run; go on with it by --resume, or begin anew by --force."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(
            f"The run's folder {out} cannot be made ({error.strerror}); name another as out."
        ) from error
