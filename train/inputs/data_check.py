"""`llava-edge data check`: everything that a recipe or a file of records names is read once."""

from dataclasses import dataclass
from pathlib import Path

from llava_edge.data.record_table import RecordTable, default_cache, open_table
from llava_edge.data.records import RecordSource
from llava_edge.train.inputs.check_records import check
from llava_edge.train.inputs.problem_reasons import reason
from llava_edge.train.inputs.problems import RecordProblems
from llava_edge.train.inputs.record_encoder import Encoder
from llava_edge.train.models.text_encoding import read_encoding
from llava_edge.train.recipe import load_recipe
from llava_edge.train.recipe_file import shipped_names
from llava_edge.train.resolve_models import resolve_models


@dataclass(frozen=True)
class CheckedData:
    """Distinct records, and what is wrong with which of them."""

    table: RecordTable
    found: RecordProblems

    def why(self, row: int, problem: str) -> str:
        """What is wrong with a row's record, in a sentence that names where it stands."""
        return reason(self.table.entry(row), problem)


def data_check(target: Path, images: Path | None = None, workers: int | None = None) -> CheckedData:
    """Read all records and pictures once and find what is wrong with them.

    `target` is a recipe (a TOML file or a shipped name), for which tokens are counted too, or a
    file or pattern of records, whose pictures are in `images`, by default beside it. `workers` is
    the number of processes, by default one for each core. Raises TrainingError for a bad recipe,
    RecordError for a file that cannot be read.
    """
    encoder = None
    if _is_recipe(target):
        sources, encoder = _of_recipe(target)
    else:
        sources = [RecordSource((target,), images or target.parent)]
    table = open_table(sources, default_cache(), 0).distinct()
    return CheckedData(table, check(table, encoder, workers))


def _is_recipe(target: Path) -> bool:
    return target.suffix == ".toml" or (not target.exists() and str(target) in shipped_names())


def _of_recipe(target: Path) -> tuple[list[RecordSource], Encoder]:
    """What a recipe reads, each source once, and how its last stage, with the longest, encodes."""
    recipe = resolve_models(load_recipe(target), weights=False)
    sources = {(source.records, source.images, source.limit): source for source in recipe.data}
    last = list(recipe.stages.values())[-1]
    return list(sources.values()), Encoder.of_stage(read_encoding(recipe), recipe, last)
