"""`llava-edge merge`."""

from pathlib import Path
from typing import Annotated

import typer

from llava_edge.core.extras import needed_by


def merge(
    adapter: Annotated[Path, typer.Argument(help="Folder adapter/ that `train` has written.")],
    out: Annotated[
        Path, typer.Argument(help="Folder to write the checkpoint to. It must not exist yet.")
    ],
    base: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the language model that the adapter was trained on.",
            show_default="the folder that it was trained from",
        ),
    ] = None,
) -> None:
    """Put an adapter into its language model: a whole LLaVA checkpoint."""
    with needed_by("`llava-edge merge`", "train"):
        from llava_edge.train.checkpoints.merge import merge
    merge(adapter, out, base)
    typer.echo(f"The checkpoint is in {out}; export it with: llava-edge export {out} BUNDLE")
