"""The tables of a recipe's records, opened once, in which the plan counts and the run reads."""

from collections.abc import Sequence
from dataclasses import dataclass

from llava_edge.data.record_table import RecordTable, default_cache, open_table
from llava_edge.data.records import RecordSource
from llava_edge.train.recipe import Recipe
from llava_edge.train.watch.terminal_bars import reading_records


@dataclass(frozen=True)
class RecipeTables:
    """The tables of the stages, by name; a table whose files are not all there is left out."""

    train: dict[str, RecordTable]
    held_out: dict[str, RecordTable]
    warm_start: RecordTable | None


def open_tables(recipe: Recipe) -> RecipeTables:
    """Open the tables of a recipe; files that were not read before are read now.

    Stages that name the same sources share a table. Raises RecordError for a file that cannot
    be read or holds no records.
    """
    opened: dict[tuple[RecordSource, ...], RecordTable] = {}

    def table(sources: Sequence[RecordSource]) -> RecordTable | None:
        if not sources or not all(file.exists() for each in sources for file in each.files):
            return None
        key = tuple(sources)
        if key not in opened:
            opened[key] = open_table(key, default_cache(), recipe.seed)
        return opened[key]

    with reading_records():
        train = {name: table(stage.data) for name, stage in recipe.stages.items()}
        held_out = {name: table(stage.evaluation) for name, stage in recipe.stages.items()}
        warm_start = table(recipe.warm_start.data) if recipe.warm_start else None
    return RecipeTables(_there(train), _there(held_out), warm_start)


def _there(tables: dict[str, RecordTable | None]) -> dict[str, RecordTable]:
    return {name: table for name, table in tables.items() if table is not None}
