"""`llava-edge ask`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from llava_edge.ask.ask import PARALLEL
from llava_edge.ask.ask import ask as ask_all
from llava_edge.cli.option_types import DEVICE, BundleOption, DeviceOption
from llava_edge.cli.option_values import options_of
from llava_edge.errors import RecordError


def ask(
    records: Annotated[
        list[Path],
        typer.Argument(
            help="Questions: JSON, JSONL, parquet or .tar files, or patterns of them. Each has a "
            "prompt, question or text, and an image or images, or else conversations as LLaVA's "
            "records."
        ),
    ],
    out: Annotated[Path, typer.Option(help="File of the answers, a JSON line for each question.")],
    bundle: BundleOption = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder or .tar shards that hold the pictures.",
            show_default="the folder of the questions",
        ),
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="Words that say how to answer, where a question has none.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="KEY=VALUE: an option of the answers, such as max_tokens=40 or temperature=0.7. "
            "May be given several times.",
        ),
    ] = None,
    device: DeviceOption = DEVICE,
    parallel: Annotated[
        int, typer.Option(min=1, help="Answers that are computed at once.")
    ] = PARALLEL,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Ask only the first of the questions.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Begin anew where there are answers already.")
    ] = False,
) -> None:
    """Answer many questions, and go on where an earlier run stopped."""
    options = options_of(set_)
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("asking", total=None)
        found = ask_all(
            records,
            out,
            bundle=bundle,
            images=images,
            system=system,
            options=options,
            device=device,
            parallel=parallel,
            limit=limit,
            force=force,
            watch=lambda done, total: bar.update(task, completed=done, total=total),
        )
    before = f", {found.before:,} were there before" if found.before else ""
    console.print(
        f"{found.answered:,} answers in {out} ({found.tokens:,} tokens, {found.seconds:.0f} s)"
        f"{before}"
    )
    if found.failed:
        raise RecordError(
            f"{found.failed:,} questions have no answer; the rows with an error in {out} say why."
        )
