"""`llava-edge bench training`."""

from dataclasses import asdict
from json import dumps
from typing import Annotated

import typer
from rich.console import Console

from llava_edge.bench.defaults import RECORDS, ROUNDS, STEPS
from llava_edge.cli.option_types import OutOption, RecipeArgument, SetOption
from llava_edge.cli.option_values import check_folders
from llava_edge.core.extras import needed_by


def training(
    recipe: RecipeArgument,
    overrides: SetOption = None,
    stage: Annotated[
        str | None,
        typer.Option(help="Stage to train, stage1 or stage2.", show_default="the last one"),
    ] = None,
    records: Annotated[
        int, typer.Option(min=1, help="How many of the stage's records are used at most.")
    ] = RECORDS,
    rounds: Annotated[
        int,
        typer.Option(min=1, help="Number of rounds, after one that warms up and is not counted."),
    ] = ROUNDS,
    steps: Annotated[
        int, typer.Option(min=1, help="Number of steps of the optimizer in a round.")
    ] = STEPS,
    out: OutOption = None,
) -> None:
    """Train a stage in turns with a plain transformers Trainer."""
    check_folders(out)
    with needed_by("`llava-edge bench training`", "train"):
        import torch  # noqa: F401
    from llava_edge.bench.training.compare_training import TrainingComparison, compare_training
    from llava_edge.bench.training.training_table import training_table

    plan = TrainingComparison(recipe, tuple(overrides or ()), stage, records, rounds, steps)
    results = compare_training(plan)
    text = dumps(asdict(results))
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    Console(highlight=False, markup=False).print(training_table(results))
    print(text)
