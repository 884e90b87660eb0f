"""A plan as tables for people: stages side by side, and the memory that each needs."""

from collections.abc import Callable
from dataclasses import fields

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from llava_edge.train.models.init_checkpoint import init_line, open_init
from llava_edge.train.planning.memory_estimate import StageMemory, learning, tower_learning
from llava_edge.train.planning.plan import Plan, StagePlan
from llava_edge.train.recipe import Stage

NOT_YET = "not there yet"
MEMORY_NAMES = {
    "weights": "weights",
    "casts": "trained weights, cast",
    "gradients": "gradients",
    "optimizer": "optimizer states",
    "exchange": "exchange between devices",
    "activations": "activations",
    "tower": "in turn: vision tower",
    "head": "in turn: head's loss, by chunks",
    "again": "in turn: a layer computed again",
}


def print_plan(plan: Plan) -> None:
    """Print what a recipe will do, what it will take, and what is still needed for it."""
    console = Console(highlight=False, markup=False)
    if plan.recipe.init is not None and plan.shape is not None:
        console.print(init_line(open_init(plan.recipe.init, plan.recipe.prompt)), soft_wrap=True)
    console.print(_stages(plan))
    if plan.shape is not None:
        console.print(_memory(plan))
    if plan.needed:
        console.print(f"still needed: {', '.join(plan.needed)}", soft_wrap=True)


def _stages(plan: Plan) -> Table:
    rows: dict[str, Callable[[StagePlan], str]] = {
        "what learns": _learns,
        "records": lambda p: f"{p.data.records:,}" if p.data else NOT_YET,
        "after weights": lambda p: f"{p.data.seen:,}" if p.data else NOT_YET,
        "longest record": lambda p: (
            f"about {p.tokens:,} tokens" if p.data else f"at most {p.tokens:,} tokens"
        ),
        "global batch": lambda p: f"{p.stage.batch_size}",
        "devices": lambda _: f"{plan.devices}",
        "device batch": lambda p: f"{p.split[0]}",
        "accumulation": lambda p: f"{p.split[1]}",
        "epochs": lambda p: f"{p.stage.epochs:g}",
        "steps": lambda p: NOT_YET if p.steps is None else f"{p.steps:,}",
        "of these warmup": lambda p: NOT_YET if p.warmup_steps is None else f"{p.warmup_steps:,}",
        "evaluation": _evaluation,
        "parameters": lambda _: f"{plan.shape.parameters:,}" if plan.shape else NOT_YET,
        "of these trained": lambda p: (
            NOT_YET if p.trained_parameters is None else f"{p.trained_parameters:,}"
        ),
    }
    table = _table(f"{plan.recipe.name}, to {plan.recipe.out}", plan)
    for name, value in rows.items():
        table.add_row(name, *(value(stage) for stage in plan.stages.values()))
    return table


def _memory(plan: Plan) -> Table:
    table = _table("memory of each device, by estimate", plan)
    stages = [stage.memory for stage in plan.stages.values() if stage.memory]
    for field in fields(StageMemory):
        table.add_row(MEMORY_NAMES[field.name], *(decimal(getattr(m, field.name)) for m in stages))
    table.add_section()
    table.add_row("together", *(decimal(memory.total) for memory in stages))
    limit = f"at most {plan.recipe.feature_cache:g} GB"
    cache = limit if plan.cache_bytes is None else decimal(plan.cache_bytes)
    table.caption = f"disk for the tower's features: {cache}"
    return table


def _table(title: str, plan: Plan) -> Table:
    table = Table("", *plan.stages, title=title, title_justify="left", caption_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _learns(plan: StagePlan) -> str:
    stage = plan.stage
    parts = [f"projector at {stage.projector_lr:g}"] if stage.projector_lr else []
    if learning(stage) == "lora" and stage.lora:
        parts.append(f"adapters of rank {stage.lora.rank} at {stage.language_model_lr:g}")
    elif learning(stage) == "full":
        parts.append(f"language model at {stage.language_model_lr:g}")
    if tower_learning(stage) == "lora" and stage.vision_tower_lora:
        rank = stage.vision_tower_lora.rank
        parts.append(f"tower's adapters of rank {rank} at {stage.vision_tower_lr:g}")
    elif tower_learning(stage) == "full":
        parts.append(f"vision tower at {stage.vision_tower_lr:g}")
    return "\n".join([*parts, *_held(stage)])


def _held(stage: Stage) -> list[str]:
    held = [f"language model in {stage.quantize}"] if stage.quantize else []
    if stage.gradient_checkpointing is True:
        held.append("gradient checkpointing")
    elif stage.gradient_checkpointing:
        held.append(f"gradient checkpointing of {stage.gradient_checkpointing} layers")
    return held


def _evaluation(plan: StagePlan) -> str:
    if not plan.stage.evaluation:
        return "none"
    count = f"{plan.evaluation.records:,} records" if plan.evaluation else NOT_YET
    return f"{count}\nevery {plan.stage.eval_steps:,} steps"
