"""`llava-edge data`: its verbs, which read flags, import late and call one function."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from llava_edge.core.extras import needed_by

if TYPE_CHECKING:
    from llava_edge.data.record_table import RecordTable
    from llava_edge.data.records import RecordSource
    from llava_edge.train.inputs.encoder import Encoder
    from llava_edge.train.inputs.problems import RecordProblems

app = typer.Typer(help="Look at records before training on them.", no_args_is_help=True)

FIRST = 3  # places named for each problem


@app.command()
def check(
    target: Annotated[
        Path,
        typer.Argument(
            help="A recipe (TOML or a shipped name), or records: JSON, JSONL, .tar, a glob."
        ),
    ],
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder or .tar shards of the records' pictures.", show_default="the records'"
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes.", show_default="one for each core")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON line.")] = False,
) -> None:
    """Read all records and pictures once and list what is wrong with them."""
    with needed_by("`llava-edge data`", "train"):
        from llava_edge.data.record_table import default_cache, open_table
        from llava_edge.data.records import RecordSource
        from llava_edge.train.inputs.check import check
        from llava_edge.train.recipe_file import shipped_names
        from llava_edge.train.watch.terminal_bars import reading_records
    encoder = None
    if target.suffix == ".toml" or (not target.exists() and str(target) in shipped_names()):
        sources, encoder = _of_recipe(target)
    else:
        sources = [RecordSource((target,), images or target.parent)]
    with reading_records():
        table = open_table(sources, default_cache(), 0).distinct()
    report = check(table, encoder, workers)
    if json:
        print(_as_json(report, table))
    else:
        _print(report, table)
    if report.problems:
        raise typer.Exit(1)


@app.command()
def show(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a TOML file.")],
    stage: Annotated[
        str | None, typer.Option(help="Whose records.", show_default="the last stage's")
    ] = None,
    index: Annotated[int, typer.Option(help="Which of them, from 0.")] = 0,
) -> None:
    """Print one record as the model sees it; what the loss counts is in colour or [[marked]]."""
    with needed_by("`llava-edge data`", "train"):
        from llava_edge.data.record_table import default_cache
        from llava_edge.train.inputs.show import show
        from llava_edge.train.recipe import load_recipe, resolve_models
    resolved = resolve_models(load_recipe(recipe), weights=False)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    show(resolved, stage or list(resolved.stages)[-1], index, default_cache(), console)


def _of_recipe(target: Path) -> "tuple[list[RecordSource], Encoder]":
    """What a recipe reads, each source once, and how its last stage, with the longest, encodes."""
    from llava_edge.train.inputs.encoder import Encoder
    from llava_edge.train.models.encoding import read_encoding
    from llava_edge.train.recipe import load_recipe, resolve_models

    recipe = resolve_models(load_recipe(target), weights=False)
    sources = {(source.records, source.images, source.limit): source for source in recipe.data}
    last = list(recipe.stages.values())[-1]
    return list(sources.values()), Encoder.of_stage(read_encoding(recipe), recipe, last)


def _print(report: "RecordProblems", table: "RecordTable") -> None:
    console = Console(highlight=False, markup=False)
    if not report.problems:
        console.print(f"{report.records:,} records: nothing is wrong.")
        return
    grid = Table(box=None, pad_edge=False)
    grid.add_column("problem")
    grid.add_column("records", justify="right")
    grid.add_column("the first of them", overflow="fold")
    for problem, rows in report.problems.items():
        places = "\n".join(map(table.where, rows[:FIRST]))
        grid.add_row(problem, f"{len(rows):,}", places)
    console.print(grid)
    wrong = sum(map(len, report.problems.values()))
    console.print(f"{wrong:,} of {report.records:,} records have a problem.")


def _as_json(report: "RecordProblems", table: "RecordTable") -> str:
    from json import dumps

    problems = {}
    for problem, rows in report.problems.items():
        entries = map(table.entry, rows)
        problems[problem] = [
            {"file": str(entry.file), "record": entry.number, "line": entry.line}
            for entry in entries
        ]
    return dumps({"records": report.records, "problems": problems})
