"""A stage and a plain Trainer, measured in turns: `llava-edge bench training`.

Every candidate is a process of its own, which trains a few steps when it is asked, and only one is
asked at a time. The first round warms up and is left out; rounds begin with different candidates.
"""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track

from llava_edge.bench.defaults import RECORDS, ROUNDS, STEPS
from llava_edge.bench.machine_info import Machine, describe_machine, library_version
from llava_edge.bench.peers.compare_peers import rotated
from llava_edge.bench.training.given import TrainingSettings
from llava_edge.bench.training.meter import MeteredBlock
from llava_edge.bench.training.training_results import (
    CACHED,
    OURS,
    PLAIN,
    TrainingResults,
    comparisons,
    figures,
)
from llava_edge.bench.training.training_worker import Greeting
from llava_edge.bench.worker_process import WorkerProcess
from llava_edge.core.strict import parse
from llava_edge.errors import UsageError
from llava_edge.runtime.devices.device import CPU

if TYPE_CHECKING:
    from llava_edge.train.recipe import Recipe

LIBRARIES = ("torch", "transformers", "accelerate", "peft")


@dataclass(frozen=True)
class TrainingComparison:
    """What is trained, and how often: `rounds` of so many steps, after one that warms up."""

    recipe: str
    overrides: tuple[str, ...] = ()
    stage: str | None = None  # by default the recipe's last
    records: int = RECORDS
    rounds: int = ROUNDS
    steps: int = STEPS


def compare_training(plan: TrainingComparison) -> TrainingResults:
    """Train a stage in turns with a plain Trainer; raises LlavaEdgeError if one of them fails."""
    from llava_edge.train.models.learner import compute_dtype
    from llava_edge.train.recipe import load_recipe
    from llava_edge.train.resolve_models import resolve_models

    recipe = resolve_models(load_recipe(plan.recipe, plan.overrides))
    stage = _stage(plan.stage, recipe)
    with TemporaryDirectory() as folder, _workers(plan, recipe, stage, Path(folder)) as workers:
        greetings = {name: parse(Greeting, w.greeting) for name, w in workers.items()}
        rounds = _rounds(workers, plan)
    peak = max(greeting.peak_operations for greeting in greetings.values())
    return TrainingResults(
        command=shlex.join(["llava-edge", *sys.argv[1:]]),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=_machine(greetings[OURS]),
        versions={name: library_version(name) for name in LIBRARIES},
        recipe=recipe.name,
        stage=stage,
        batch_size=recipe.stages[stage].batch_size,
        precision=str(compute_dtype(recipe)).removeprefix("torch."),
        steps=plan.steps,
        peak_operations=peak,
        feature_seconds=greetings[CACHED].feature_seconds if CACHED in greetings else None,
        figures={
            name: figures(blocks, greetings[name].first_loss, peak)
            for name, blocks in rounds.items()
        },
        ratios=comparisons(rounds),
        rounds={name: tuple(blocks) for name, blocks in rounds.items()},
    )


def _stage(wanted: str | None, recipe: "Recipe") -> str:
    names = list(recipe.stages)
    if wanted is not None and wanted not in names:
        raise UsageError(f'"{wanted}" is not a stage of the recipe; give {" or ".join(names)}.')
    return wanted or names[-1]


@contextmanager
def _workers(
    plan: TrainingComparison, recipe: "Recipe", stage: str, folder: Path
) -> Iterator[dict[str, WorkerProcess]]:
    """Start them one after another, so that all are ready before anything is measured."""
    names = (OURS, CACHED, PLAIN) if recipe.feature_cache else (OURS, PLAIN)
    workers: dict[str, WorkerProcess] = {}
    try:
        for number, name in enumerate(names):
            settings = TrainingSettings(
                name=name,
                plain=name == PLAIN,
                cached=name == CACHED,
                recipe=plan.recipe,
                overrides=plan.overrides,
                stage=stage,
                records=plan.records,
                steps=(plan.rounds + 1) * plan.steps,
                out=folder / str(number),
            )
            workers[name] = WorkerProcess(
                name,
                "llava_edge.bench.training.training_worker",
                asdict(settings),
                "see whether `llava-edge train` runs this recipe here",
            )
        yield workers
    finally:
        for worker in workers.values():
            worker.close()


def _rounds(
    workers: dict[str, WorkerProcess], plan: TrainingComparison
) -> dict[str, list[MeteredBlock]]:
    """Each candidate's blocks, without those of the first round."""
    rounds: dict[str, list[MeteredBlock]] = {name: [] for name in workers}
    console = Console(stderr=True)
    numbers = range(plan.rounds + 1)
    for number in track(numbers, "Rounds", console=console, auto_refresh=False, transient=True):
        for name in rotated(list(workers), number):
            block = parse(MeteredBlock, workers[name].ask("steps", steps=plan.steps))
            if number:
                rounds[name].append(block)
    return rounds


def _machine(greeting: Greeting) -> Machine:
    return replace(describe_machine(CPU), threads=greeting.threads, gpu=greeting.gpu)
