"""What a run would refuse, found before it begins, without a model's weights or any picture."""

import os
from pathlib import Path

import numpy as np

from llava_edge.data.record_table import RecordTable
from llava_edge.data.records import require_pictures
from llava_edge.errors import RecordError, TrainingError
from llava_edge.train.inputs.batches import Indexes
from llava_edge.train.inputs.record_encoder import Encoder
from llava_edge.train.models.text_encoding import read_encoding
from llava_edge.train.recipe import Recipe
from llava_edge.train.recipe_tables import RecipeTables
from llava_edge.train.resolve_models import resolve_models

LOOKED_AT = 2000  # records of a stage whose tokens are counted, evenly spread


def require_runnable(recipe: Recipe, tables: RecipeTables) -> None:
    """Raise TrainingError or RecordError for what the run itself would refuse.

    Models that are not on this machine are not asked. Every record is looked at for faults that
    its text shows and for pictures that are missing; tokens are counted of `LOOKED_AT` of each
    stage. What is wrong inside of pictures `llava-edge data check` says.
    """
    _require_writable(recipe.out)
    here = all(Path(model).exists() for model in recipe.models)
    encoding = read_encoding(resolve_models(recipe, weights=False)) if here else None
    if tables.warm_start is not None:
        _without_faults(tables.warm_start, recipe)
    for name, stage in recipe.stages.items():
        for found in (tables.train.get(name), tables.held_out.get(name)):
            if found is None:
                continue
            usable = _without_faults(found, recipe)
            if encoding is not None:
                _require_answers(usable, Encoder.of_stage(encoding, recipe, stage), recipe, name)


def _without_faults(table: RecordTable, recipe: Recipe) -> RecordTable:
    """The distinct records that have none; raises RecordError for others, unless skipped."""
    each = table.distinct()
    faulty = each.faulty
    missing = _missing(each, np.flatnonzero(~faulty))
    for row in range(len(each)) if missing else np.flatnonzero(faulty).tolist():
        try:
            require_pictures(each[row], each.where(row))
        except RecordError:
            if recipe.bad_records != "skip":
                raise
            faulty[row] = True
    good = np.flatnonzero(~faulty)
    if not len(good):
        raise TrainingError(
            f"None of the {len(each):,} records of {each.entry(0).file} can be used; "
            "`llava-edge data check` says why."
        )
    return each.of(good)


def _missing(table: RecordTable, positions: Indexes) -> bool:
    """Whether any picture is; each is looked for once."""
    pictures = table.distinct_pictures(positions)
    return not all(picture.is_file() for picture in pictures if isinstance(picture, Path))


def _require_answers(table: RecordTable, encoder: Encoder, recipe: Recipe, stage: str) -> None:
    rows = np.unique(np.linspace(0, len(table) - 1, LOOKED_AT).astype(int))
    failures = []
    for row in map(int, rows):
        try:
            encoder(table[row], row)
        except RecordError as error:
            if recipe.bad_records == "stop":
                raise RecordError(f"{table.where(row)}: {error}") from error
            failures.append(row)
    if failures and (recipe.bad_records == "refuse" or len(failures) == len(rows)):
        raise TrainingError(
            f"{len(failures):,} of {len(rows):,} records of {stage} have no answer within "
            f"max_tokens = {recipe.max_tokens:,}, such as {table.where(failures[0])}; raise "
            "max_tokens or drop them."
        )


def _require_writable(out: Path) -> None:
    """The folder, or the nearest one above it that is there."""
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise TrainingError(
            f"The run's folder {out} cannot be made or written to; name another as out."
        )
