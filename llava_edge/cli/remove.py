"""`llava-edge remove`."""

from typing import Annotated

import typer

from llava_edge.core import stored_models


def remove(
    name: Annotated[str, typer.Argument(help="Name of a bundle that `llava-edge list` prints.")],
) -> None:
    """Delete a bundle of the models folder."""
    typer.echo(f"{stored_models.remove(name)} was removed.")
