"""What a recipe will do, worked out before anything is loaded: steps, parameters and memory."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from rich.filesize import decimal

from llava_edge.errors import CheckpointError, TrainingError
from llava_edge.hub.find_model import is_hub_name
from llava_edge.train.inputs.batches import steps_of
from llava_edge.train.inputs.picture_features import shown_again
from llava_edge.train.planning import memory_estimate
from llava_edge.train.planning.memory_estimate import Batch, ModelShape, StageMemory
from llava_edge.train.planning.model_shape import model_shape
from llava_edge.train.planning.record_counts import RecordCounts, count_records
from llava_edge.train.recipe import Recipe, Stage
from llava_edge.train.recipe_tables import RecipeTables, open_tables
from llava_edge.train.resolve_models import resolve_init
from llava_edge.train.watch.trackers import check_trackers


@dataclass(frozen=True)
class StagePlan:
    """One stage: what it sees in how many steps, and what a device needs for it."""

    stage: Stage
    data: RecordCounts | None  # None: not there yet
    evaluation: RecordCounts | None
    split: tuple[int, int]  # records a device computes at once, times in a row
    tokens: int  # of the longest record
    labelled: int  # at most, of a record's
    steps: int | None
    warmup_steps: int | None
    trained_parameters: int | None
    memory: StageMemory | None  # None without the models' shapes


@dataclass(frozen=True)
class Plan:
    """A recipe's stages by name, on so many devices; the shape is None if a model is missing."""

    recipe: Recipe
    devices: int
    shape: ModelShape | None
    stages: dict[str, StagePlan]
    tables: RecipeTables
    needed: tuple[str, ...]  # what is not there yet

    @cached_property
    def cache_bytes(self) -> int | None:
        """Bytes of disk for the frozen tower's features; None if they are not known yet.

        Nothing is kept if no picture is shown again, or if the features of all do not fit.
        """
        recipe, train = self.recipe, self.tables.train
        frozen = [name for name, stage in recipe.stages.items() if not stage.vision_tower_lr]
        tables = [train[name] for name in frozen if name in train]
        tables += [self.tables.warm_start] if self.tables.warm_start else []
        if self.shape is None or len(tables) < len(frozen) + bool(recipe.warm_start):
            return None
        pictures = shown_again([(table, np.arange(len(table))) for table in tables], recipe)
        views = sum(map(self.shape.count_views, pictures))
        needed = memory_estimate.feature_bytes(self.shape.tower, views, _width(recipe))
        return needed if needed <= recipe.feature_cache * 1e9 else 0


def make_plan(recipe: Recipe, devices: int = 1, tables: RecipeTables | None = None) -> Plan:
    """Work out what a recipe will do from the models' configurations and its records.

    `tables` are the records, if they are open already. Raises TrainingError if a stage cannot
    be split over the devices, if its records are longer than the language model reads or if a
    tracker is not there, and RecordError if records cannot be read.
    """
    check_trackers(recipe.report_to)
    from_hub = [model for model in recipe.models if _is_of_hub(model)]
    needed = [*map(str, recipe.missing), *(f"{model} (of the hub)" for model in from_hub)]
    try:
        if recipe.init is not None:
            recipe = resolve_init(recipe, recipe.init, weights=False)
        shape = model_shape(recipe)
    except CheckpointError as error:
        if recipe.init is not None and not needed:  # it is there, but cannot be opened
            raise TrainingError(str(error)) from error
        shape = None  # there is no such folder yet, or the hub does not answer
    tables = tables or open_tables(recipe)
    views = shape.views if shape else None
    stages = {}
    for name, stage in recipe.stages.items():
        data, held_out = (
            count_records(found[name], views, recipe.max_tokens) if name in found else None
            for found in (tables.train, tables.held_out)
        )
        stages[name] = _plan(recipe, stage, shape, devices, data, held_out)
        _check_positions(recipe, stages[name], shape)
    return Plan(recipe, devices, shape, stages, tables, tuple(needed))


def memory_line(plan: Plan) -> str:
    """What the most demanding stage needs of each device, in one line."""
    totals = {name: stage.memory.total for name, stage in plan.stages.items() if stage.memory}
    if not totals:
        return "Memory: unknown without the models' configurations"
    name = max(totals, key=lambda key: totals[key])
    return (
        f"Memory: about {decimal(totals[name])} on each device in {name}, by estimate "
        f"(records of up to {plan.stages[name].tokens:,} tokens)"
    )


def stage_memory(
    recipe: Recipe, shape: ModelShape, stage: Stage, batch: Batch, devices: int
) -> StageMemory:
    """What a stage needs of each device that computes such a batch at once."""
    return memory_estimate.estimate(
        shape,
        stage,
        batch,
        width=_width(recipe),
        devices=devices,
        sharded=recipe.sharded(devices),
    )


def _plan(
    recipe: Recipe,
    stage: Stage,
    shape: ModelShape | None,
    devices: int,
    data: RecordCounts | None,
    evaluation: RecordCounts | None,
) -> StagePlan:
    split = stage.split(devices)
    tokens = data.longest if data else recipe.max_tokens
    steps = steps_of(stage, data.seen) if data else None
    image_tokens = shape.tower.image_tokens if shape else 0
    labelled = data.words if data else max(recipe.max_tokens - image_tokens, 1)
    batch = Batch(split[0], tokens, labelled)
    return StagePlan(
        stage=stage,
        data=data,
        evaluation=evaluation,
        split=split,
        tokens=tokens,
        labelled=labelled,
        steps=steps,
        warmup_steps=None if steps is None else math.ceil(steps * stage.warmup_ratio),
        trained_parameters=memory_estimate.trained_parameters(shape, stage) if shape else None,
        memory=stage_memory(recipe, shape, stage, batch, devices) if shape else None,
    )


def _check_positions(recipe: Recipe, plan: StagePlan, shape: ModelShape | None) -> None:
    positions = shape.decoder.positions if shape and plan.data else None
    if positions and plan.tokens > positions:
        raise TrainingError(
            f"There are records of about {plan.tokens:,} tokens, but {recipe.language_model} reads "
            f"at most {positions:,}; set max_tokens to {positions} or less."
        )


def _width(recipe: Recipe) -> int:
    """Bytes of a value in products; if the device decides, as if it had bf16."""
    return 4 if recipe.precision == "fp32" else 2


def _is_of_hub(model: str) -> bool:
    return is_hub_name(model) and not Path(model).exists()
