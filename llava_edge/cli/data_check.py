"""`llava-edge data check`."""

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from llava_edge.cli.option_types import JsonOption
from llava_edge.core.extras import needed_by

if TYPE_CHECKING:
    from llava_edge.train.inputs.data_check import CheckedData

FIRST = 3  # places named for each problem


def check(
    target: Annotated[
        Path,
        typer.Argument(
            help="Recipe (a TOML file, or the name of one that comes with llava-edge), or records: "
            "a JSON, JSONL or .tar file, or a pattern such as 'shards/*.tar'."
        ),
    ],
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder or .tar shards that hold the records' pictures.",
            show_default="the folder of the records",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of processes that read.", show_default="one for each core"
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Read all records and pictures once, and list what is wrong with them."""
    with needed_by("`llava-edge data`", "train"):
        from llava_edge.train.inputs.data_check import data_check
        from llava_edge.train.watch.terminal_bars import reading_records
    with reading_records():
        checked = data_check(target, images, workers)
    if json:
        typer.echo(_as_json(checked))
    else:
        _print(checked)
    if checked.found.problems:
        raise typer.Exit(1)


def _print(checked: "CheckedData") -> None:
    console = Console(highlight=False, markup=False)
    found = checked.found
    if not found.problems:
        console.print(f"{found.records:,} records: nothing is wrong.")
        return
    grid = Table(box=None, pad_edge=False)
    grid.add_column("problem")
    grid.add_column("records", justify="right")
    grid.add_column("the first of them", overflow="fold")
    for problem, rows in found.problems.items():
        places = "\n".join(map(checked.table.where, rows[:FIRST]))
        grid.add_row(problem, f"{len(rows):,}", places)
    console.print(grid)
    wrong = sum(map(len, found.problems.values()))
    console.print(f"{wrong:,} of {found.records:,} records have a problem.")


def _as_json(checked: "CheckedData") -> str:
    problems = {}
    for problem, rows in checked.found.problems.items():
        entries = map(checked.table.entry, rows)
        problems[problem] = [
            {"file": str(entry.file), "record": entry.number, "line": entry.line}
            for entry in entries
        ]
    return dumps({"records": checked.found.records, "problems": problems})
