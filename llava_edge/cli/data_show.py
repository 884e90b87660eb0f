"""`llava-edge data show`."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from llava_edge.core.extras import needed_by

if TYPE_CHECKING:
    from llava_edge.train.inputs.show import ShownRecord, TextSpan

LEARNED = "bold green"


def show(
    recipe: Annotated[Path, typer.Argument(help="Recipe, a TOML file.")],
    stage: Annotated[
        str | None, typer.Option(help="Stage whose records are meant.", show_default="the last one")
    ] = None,
    index: Annotated[
        int, typer.Option(help="Position of the record among them, counted from 0.")
    ] = 0,
) -> None:
    """Print one record as the model sees it; the loss counts what is in colour or in brackets.

    A bad record is marked, and said why it is.
    """
    with needed_by("`llava-edge data`", "train"):
        from llava_edge.train.inputs.show import show
    print_record(show(recipe, stage, index), Console(highlight=False, markup=False, soft_wrap=True))


def print_record(shown: "ShownRecord", console: Console) -> None:
    """Print a record as it is shown."""
    if shown.bad is not None:
        console.print(f"Bad: {shown.bad}", style="bold red")
    if shown.record is None:
        return
    console.print(f"{shown.where}: {shown.record.id}")
    for picture in shown.record.images:
        name = f"{len(picture):,} bytes" if isinstance(picture, bytes) else picture
        console.print(f"Picture: {name}")
    console.print(_marked(shown.spans, colour=console.is_terminal))
    console.print(
        f"{shown.tokens:,} tokens: {shown.image_tokens:,} image tokens, "
        f"{shown.learned:,} counted in the loss"
        + (f"; {shown.cut:,} more are cut off by max_tokens" if shown.cut else "")
    )


def _marked(spans: "Iterable[TextSpan]", *, colour: bool) -> Text:
    """Learned words in colour, or between [[ and ]] where there is none."""
    text = Text()
    for span in spans:
        if span.image_tokens:
            text.append(f"<image x {span.image_tokens}>", "cyan" if colour else "")
        elif span.learned:
            text.append(span.text if colour else f"[[{span.text}]]", LEARNED if colour else "")
        else:
            text.append(span.text)
    return text
