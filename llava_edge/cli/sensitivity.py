"""`llava-edge sensitivity`."""

from pathlib import Path
from typing import Annotated, get_args

import typer

from llava_edge.cli.option_types import (
    BaseOption,
    CheckpointArgument,
    ImagesOption,
    RecordsOption,
    VisionTowerOption,
)
from llava_edge.cli.option_values import records_of
from llava_edge.core.extras import needed_by
from llava_edge.core.weight_formats import BLOCK_SIZE, BLOCK_SIZES, METHOD, Method

SHOWN = 10  # layers, those that 4 bits cost most


def sensitivity(
    checkpoint: CheckpointArgument,
    out: Annotated[Path, typer.Argument(help="File to write, such as sensitivity.json.")],
    base: BaseOption = None,
    vision_tower: VisionTowerOption = None,
    quantize: Annotated[
        Method,
        typer.Option(
            metavar="METHOD",
            help=f"How `export` will quantize the layers: {', '.join(get_args(Method))}.",
        ),
    ] = METHOD,
    block_size: Annotated[
        int | None,
        typer.Option(
            help=f"Number of weights that share a scale: {', '.join(map(str, BLOCK_SIZES))}.",
            show_default=str(BLOCK_SIZE),
        ),
    ] = None,
    records: RecordsOption = None,
    images: ImagesOption = None,
) -> None:
    """Measure what 4 bits cost in each linear layer, for `export --mixed`."""
    with needed_by("`llava-edge sensitivity`", "verify"):
        from llava_edge.export.progress_bars import show_progress
        from llava_edge.export.quantization.precision import Precision
        from llava_edge.export.sensitivity import sensitivity
    with show_progress():
        found = sensitivity(
            checkpoint,
            out,
            base=base,
            vision_tower=vision_tower,
            precision=Precision(method=quantize, block_size=block_size),
            data=records_of(records, images),
        )
    for name, divergence in sorted(found.divergence.items(), key=lambda item: -item[1])[:SHOWN]:
        typer.echo(f"{divergence:.5f}  {name}")
    typer.echo(f"Measured on {found.tokens:,} tokens and written to {out}.")
