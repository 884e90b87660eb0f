"""Runs a recipe: models and records are made ready, then its stages follow one another."""

import gc
import shutil
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import PartialState
from rich.console import Console
from torch import Tensor

from llava_edge.train.checkpoints.merge import write_merged
from llava_edge.train.checkpoints.projector_file import load_projector
from llava_edge.train.checkpoints.save import save_adapter, save_checkpoint
from llava_edge.train.checkpoints.whole_init import whole_init
from llava_edge.train.engine.run_stage import prepare_stage, run_stage
from llava_edge.train.inputs.batches import Devices
from llava_edge.train.models.adapters import merged
from llava_edge.train.models.init_checkpoint import init_line, open_init
from llava_edge.train.models.language_model import check_quantizable
from llava_edge.train.models.learner import Learner, build, compute_dtype
from llava_edge.train.models.llava_kind import NEWLINE, newline_of
from llava_edge.train.models.text_encoding import read_encoding
from llava_edge.train.planning.plan import Plan, make_plan, memory_line
from llava_edge.train.projector_warm_start import warm_start
from llava_edge.train.recipe import Recipe, Stage
from llava_edge.train.recipe_tables import open_tables
from llava_edge.train.resolve_models import resolve_models
from llava_edge.train.run_data import RunData
from llava_edge.train.run_folder import claim, clear, remember
from llava_edge.train.watch.stage_failures import translate_errors
from llava_edge.train.watch.terminal_display import silence_transformers

PATIENCE = timedelta(hours=12)  # while one process reads, checks, warms up or writes for all


def run_recipe(recipe: Recipe, *, resume: bool, force: bool) -> Path:
    """Run the warm start and the stages; returns the folder of the last checkpoint."""
    silence_transformers()
    processes = PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
    console = Console(
        stderr=True,
        quiet=not processes.is_main_process,
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    with (
        translate_errors("the run", recipe.out / "steps"),
        processes.main_process_first(),  # which fetches models and reads records for all
    ):
        recipe = resolve_models(recipe)
        tables = open_tables(recipe)
        if processes.is_main_process:
            plan = make_plan(recipe, processes.num_processes, tables)
            _check_quantize(plan)
            if recipe.init is not None:
                console.print(init_line(open_init(recipe.init, recipe.prompt)))
            console.print(memory_line(plan))
            claim(recipe.out, resume=resume, force=force)
        data = RunData(recipe, tables, read_encoding(recipe), console)
        if processes.is_main_process:
            if force and not resume:  # now that nothing known speaks against the new run
                clear(recipe.out)
            remember(recipe, data.fingerprints, resume=resume)
        recipe = whole_init(recipe, console)
    return _Run(recipe, data, processes, console, resume=resume).finish()


def _check_quantize(plan: Plan) -> None:
    """Refuse a model that cannot be quantized now, and not once stage 2 begins."""
    if plan.shape and any(stage.quantize for stage in plan.recipe.stages.values()):
        widths = (width for _, width in plan.shape.decoder.linears)
        check_quantizable(widths, plan.recipe.language_model)


class _Run:
    """A recipe under way: stages that are done are kept, the others are trained."""

    def __init__(
        self,
        recipe: Recipe,
        data: RunData,
        processes: PartialState,
        console: Console,
        *,
        resume: bool,
    ) -> None:
        self._recipe = recipe
        self._data = data
        self._processes = processes
        self._console = console
        self._resume = resume
        self._quantize = next(iter(recipe.stages.values())).quantize
        self._learner = build(recipe, self._quantize)

    def finish(self) -> Path:
        done = self._recipe.projector_weights
        for name, stage in self._recipe.stages.items():
            folder = self._recipe.out / name
            if (folder / "config.json").exists():
                self._console.print(f"{name} is done: {folder}")
            else:
                if done:
                    load_projector(self._learner.model, done)
                self._begin(name, stage)
                self._train(name, stage)
            done = folder
        return folder

    def _begin(self, name: str, stage: Stage) -> None:
        """Make ready what the stage needs: the model in its form, features, the warm start."""
        if stage.quantize != self._quantize:
            self._rebuild(stage)
        processes = self._processes
        with translate_errors(name, self._recipe.out / "steps" / name):
            with processes.main_process_first():
                if torch.cuda.is_available():  # where features and the warm start want the tower
                    self._learner.model.model.vision_tower.to("cuda")
                self._data.lay_out_features(self._learner)
            devices = Devices(processes.num_processes, processes.process_index)
            self._data.fill_features(self._learner, devices)
            processes.wait_for_everyone()
            self._data.require_features()
        if name == "stage1":
            self._warm_start()

    def _rebuild(self, stage: Stage) -> None:
        before = self._learner.model
        self._quantize = stage.quantize
        self._learner = build(self._recipe, stage.quantize)
        after = self._learner.model.model
        after.multi_modal_projector.load_state_dict(before.model.multi_modal_projector.state_dict())
        if (newline := newline_of(before)) is not None:
            setattr(after, NEWLINE, newline)

    def _warm_start(self) -> None:
        """Warm up the projector, if the recipe says so, on objects and their names.

        One process trains it, and all of them read what it has kept.
        """
        recipe, kept = self._recipe, self._recipe.out / "warm_start"
        if recipe.warm_start is None or self._data.warm_start is None:
            return
        with self._processes.main_process_first():
            if not (kept / "config.json").exists():
                table, positions = self._data.warm_start
                records = (table[int(position)] for position in positions)
                accuracy = warm_start(
                    self._learner, recipe.warm_start, records, self._data.features
                )
                self._console.print(
                    f"Warm start: {accuracy:.1%} of the labelled rows are nearest to their word"
                )
                with translate_errors("warm_start", kept):
                    save_checkpoint(self._learner, recipe, kept)
        load_projector(self._learner.model, kept)

    def _train(self, name: str, stage: Stage) -> None:
        recipe, learner = self._recipe, self._learner
        self._console.print(f"{name}: {_what_learns(stage)}")
        torch.manual_seed(recipe.seed)  # adapters begin alike in every process
        model = prepare_stage(learner, stage)
        train, held_out = self._data.datasets(name)
        trainer = run_stage(
            model, recipe, name, train, held_out, self._console, resume=self._resume
        )
        if recipe.sharded(self._processes.num_processes):
            trained = trainer.trained_state()
            if self._processes.is_main_process or name != list(recipe.stages)[-1]:
                self._learner = _whole(recipe, stage, trained)
        del model, trainer
        gc.collect()  # Trainer, its optimizer and the model name each other
        with translate_errors(name, recipe.out / "steps" / name):
            if self._processes.is_main_process:
                _save(self._learner, recipe, name, stage)
                shutil.rmtree(recipe.out / "steps" / name, ignore_errors=True)
        self._processes.wait_for_everyone()


def _whole(recipe: Recipe, stage: Stage, trained: dict[str, Tensor]) -> Learner:
    """Build the model again in one piece, with what the processes have trained in parts."""
    learner = build(recipe, stage.quantize)
    model = prepare_stage(learner, stage)
    if trained:  # the first process has it
        model.load_state_dict(trained, strict=False)
    return learner


def _save(learner: Learner, recipe: Recipe, name: str, stage: Stage) -> None:
    """Write the stage's checkpoint; after adapters it is what `merge` makes of them."""
    if stage.vision_tower_lr:
        tower = learner.model.model.vision_tower
        tower = merged(tower) if stage.vision_tower_lora else tower
        learner.model.model.vision_tower = tower.to(compute_dtype(recipe))
    if stage.lora:
        save_adapter(learner, recipe, recipe.out / "adapter")
        learner.model.model.language_model = None  # merging reads it anew; one copy is enough
        write_merged(recipe.out / "adapter", recipe.out / name, Path(recipe.language_model))
        return
    if stage.language_model_lr:  # which learnt in fp32, and is kept in the precision it came in
        learner.model.model.language_model.to(compute_dtype(recipe))
        learner.model.lm_head.to(compute_dtype(recipe))
    save_checkpoint(learner, recipe, recipe.out / name, projector_file=name == "stage1")


def _what_learns(stage: Stage) -> str:
    tower = "the tower's adapters" if stage.vision_tower_lora else "the vision tower"
    parts = {
        "the projector": stage.projector_lr,
        tower: stage.vision_tower_lr,
        "the language model": stage.language_model_lr,
    }
    learning = [part for part, rate in parts.items() if rate]
    how = " through adapters" if stage.lora else ""
    *first, last = learning
    named = f"{', '.join(first)} and {last}" if first else last
    return f"{named} {'learn' if first else 'learns'}{how}"
