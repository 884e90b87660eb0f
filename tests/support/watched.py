"""A tiny stage, trained as a run trains it, with what a test wants to see or to break."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console
from transformers import TrainerCallback

from llava_edge.data.record_table import open_table
from llava_edge.train.engine.run_stage import prepare_stage
from llava_edge.train.engine.run_stage import run_stage as run
from llava_edge.train.engine.trainer import StageTrainer
from llava_edge.train.inputs.dataset import RecordDataset
from llava_edge.train.inputs.record_encoder import Encoder
from llava_edge.train.models.learner import build
from llava_edge.train.recipe import load_recipe
from llava_edge.train.watch import stage_failures as failures


def run_stage(
    recipe_path: Path,
    *extra: TrainerCallback,
    console: Console | None = None,
    name: str = "stage1",
    dataset: type[RecordDataset] = RecordDataset,
    timeout: int = 600,
    **changes: Any,
) -> StageTrainer:
    """Train a stage of a recipe, going on from its last checkpoint; returns the trainer."""
    recipe = load_recipe(recipe_path)
    learner, stage = build(recipe), recipe.stages[name]
    model = prepare_stage(learner, stage)
    table = open_table(stage.data, recipe.out / "records", recipe.seed)
    encoder = Encoder.of_stage(learner.encoding, recipe, stage)
    with patch.object(failures, "STALLED", timeout):
        return run(
            model,
            recipe,
            name,
            dataset(table, encoder),
            RecordDataset(table, encoder),
            console or Console(quiet=True),
            *extra,
            resume=True,
            **changes,
        )
