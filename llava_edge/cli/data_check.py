"""`llava-edge data check`."""

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

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
    console = Console(highlight=False, markup=False, soft_wrap=True)
    found = checked.found
    for problem, rows in found.problems.items():
        console.print(f"{len(rows):,} {problem}", style="bold")
        for row in rows[:FIRST]:
            console.print(f"  {checked.why(row, problem)}")
        if len(rows) > FIRST:
            console.print(f"  and {len(rows) - FIRST:,} more, which --json lists")
    if unread := checked.table.unread:
        listed = ", ".join(f"{key} ({count:,})" for key, count in unread.items())
        console.print(f"Not read: {listed}.")
    wrong = sum(map(len, found.problems.values()))
    if wrong:
        console.print(f"{wrong:,} of {found.records:,} records have a problem.")
    else:
        console.print(f"{found.records:,} records: nothing is wrong.")


def _as_json(checked: "CheckedData") -> str:
    problems = {}
    for problem, rows in checked.found.problems.items():
        problems[problem] = [_place(checked, row, problem) for row in rows]
    return dumps(
        {
            "records": checked.found.records,
            "problems": problems,
            "unread": checked.table.unread,
        }
    )


def _place(checked: "CheckedData", row: int, problem: str) -> dict[str, object]:
    entry = checked.table.entry(row)
    place = {"file": str(entry.file), "record": entry.number, "line": entry.line}
    return place | {"why": checked.why(row, problem)}
