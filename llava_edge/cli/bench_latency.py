"""`llava-edge bench latency`."""

import sys
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from llava_edge.bench.defaults import CONTEXTS, PROMPT, RUNS, TOKENS
from llava_edge.cli.option_types import (
    DEVICE,
    BundleArgument,
    DeviceOption,
    ImageOption,
    QuestionOption,
)
from llava_edge.cli.option_values import check_folders, numbers

if TYPE_CHECKING:
    from llava_edge.bench.latency import Latency


def latency(
    bundle: BundleArgument = None,
    image: ImageOption = None,
    prompt: QuestionOption = PROMPT,
    tokens: Annotated[
        int, typer.Option(min=2, help="Number of tokens that a run decodes at each context.")
    ] = TOKENS,
    runs: Annotated[
        int, typer.Option(min=1, help="Number of runs, after one that warms up and is not counted.")
    ] = RUNS,
    contexts: Annotated[
        str | None,
        typer.Option(
            help="How many tokens come before those that are decoded: numbers with commas.",
            show_default=f"those of {','.join(map(str, CONTEXTS))} that fit",
        ),
    ] = None,
    device: DeviceOption = DEVICE,
    plot: Annotated[
        Path | None, typer.Option(help="Picture to draw of the result, such as out.png.")
    ] = None,
    json_out: Annotated[
        Path | None, typer.Option(help="File for the line of JSON that is printed last.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            help="Measure nothing: compare two files that --json-out has written.", metavar="A B"
        ),
    ] = None,
) -> None:
    """Time the stages of an answer, beside what the machine allows."""
    if compare is not None:
        _compare(*compare)
        return
    from llava_edge.bench.latency import latency

    check_folders(plot, json_out)
    found = latency(
        bundle,
        image or [],
        prompt,
        tokens=tokens,
        runs=runs,
        contexts=numbers("contexts", contexts),
        device=device,
    )
    _report(found, plot, json_out)


def _report(found: "Latency", plot: Path | None, json_out: Path | None) -> None:
    """A table for people, one line of JSON for programs, and what else is wanted."""
    from llava_edge.bench.latency import as_json
    from llava_edge.bench.tables import latency_table

    text = as_json(found)
    if json_out is not None:
        json_out.write_text(text + "\n", encoding="utf-8")
    if plot is not None:
        from llava_edge.bench.latency_plot import plot_latency

        plot_latency(found, plot)
    Console(highlight=False, markup=False).print(latency_table(found))
    print(text)


def _compare(first: Path, second: Path) -> None:
    from llava_edge.bench.compare_latency import compare, warning
    from llava_edge.bench.latency import read_latency
    from llava_edge.bench.tables import comparison_table

    one, other = read_latency(first), read_latency(second)
    if sentence := warning(one, other):
        print(f"Warning: {sentence}", file=sys.stderr)
    changes = list(compare(one, other))
    Console(highlight=False, markup=False).print(comparison_table(changes, first.stem, second.stem))
    print(dumps([asdict(change) for change in changes]))
