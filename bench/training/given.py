"""What every candidate trains: the same model, parts that learn, records and steps."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llava_edge.data.record_table import RecordTable
    from llava_edge.train.inputs.dataset import RecordDataset
    from llava_edge.train.inputs.picture_features import Features
    from llava_edge.train.models.learner import AnswerLoss, Learner
    from llava_edge.train.recipe import Recipe, Stage


@dataclass(frozen=True)
class TrainingSettings:
    """A candidate and what it trains; `steps` is how many it needs records for."""

    name: str
    plain: bool  # a plain Trainer
    cached: bool  # reads the tower's features, which it computes before
    recipe: str
    overrides: tuple[str, ...]
    stage: str
    records: int
    steps: int
    out: Path  # a folder for what is written on the way


@dataclass(frozen=True)
class Given:
    """A recipe whose stage is as long as the benchmark, its prepared model and its records."""

    recipe: "Recipe"
    stage_name: str
    model: "AnswerLoss"
    data: "RecordDataset"
    feature_seconds: float | None  # a picture

    @property
    def stage(self) -> "Stage":
        """The stage that is trained."""
        return self.recipe.stages[self.stage_name]


def read(settings: TrainingSettings) -> Given:
    """Build the model and choose the records; raises the errors of `llava-edge train`."""
    import torch

    from llava_edge.data.record_table import default_cache, open_table
    from llava_edge.train.engine.run_stage import prepare_stage
    from llava_edge.train.inputs.check_records import usable_rows
    from llava_edge.train.inputs.dataset import RecordDataset
    from llava_edge.train.inputs.record_encoder import Encoder
    from llava_edge.train.models.learner import build
    from llava_edge.train.recipe import load_recipe
    from llava_edge.train.resolve_models import resolve_models

    recipe = resolve_models(load_recipe(settings.recipe, settings.overrides))
    stage = recipe.stages[settings.stage]
    learner = build(recipe, stage.quantize)
    encoder = Encoder.of_stage(learner.encoding, recipe, stage)
    table = open_table(stage.data, default_cache(), recipe.seed)
    positions = _some(usable_rows(table, recipe, encoder), settings.records, stage, recipe.seed)
    stage = replace(stage, epochs=ceil(settings.steps * stage.batch_size / len(positions)))
    changes: dict[str, Any] = {settings.stage: stage, "out": settings.out}
    recipe = replace(recipe, **changes)
    features, seconds = None, None
    if settings.cached:
        features, seconds = _compute_features(learner, recipe, table, positions)
    torch.manual_seed(recipe.seed)
    model = prepare_stage(learner, stage)
    data = RecordDataset(table, encoder, positions, features)
    return Given(recipe, settings.stage, model, data, seconds)


def _some(positions: Any, count: int, stage: "Stage", seed: int) -> Any:
    """So many of the positions, drawn by the seed; for whole steps, if there are enough."""
    import numpy as np

    drawn = np.random.default_rng(seed).permutation(positions)[:count]
    whole = len(drawn) - len(drawn) % stage.batch_size
    return drawn[: whole or len(drawn)]


def _compute_features(
    learner: "Learner", recipe: "Recipe", table: "RecordTable", positions: Sequence[int]
) -> tuple["Features | None", float | None]:
    """The tower's rows for the records' pictures, as a run keeps them, and seconds per picture."""
    import torch

    from llava_edge.train.inputs.batches import Devices
    from llava_edge.train.inputs.picture_features import Features
    from llava_edge.train.models.learner import compute_dtype, tower_rows

    pictures = {picture for at in positions for picture in table.entry(int(at)).pictures}
    if not pictures:
        return None, None
    if torch.cuda.is_available():
        learner.model.model.vision_tower.to("cuda")
    ordered = sorted(pictures, key=str)
    dtype = compute_dtype(recipe)
    views, folder = learner.encoding.views, recipe.out / "features"
    counts = [views.count(picture) for picture in ordered]
    features = Features(folder, ordered, counts, learner.feature_shape, dtype, "benchmark")
    features.create()
    start = time.perf_counter()
    features.fill(lambda pixels: tower_rows(learner.model, pixels), views, Devices(), str)
    return features, (time.perf_counter() - start) / len(pictures)
