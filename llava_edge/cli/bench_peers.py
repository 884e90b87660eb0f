"""`llava-edge bench peers`."""

from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from llava_edge.bench.defaults import PEERS, PROMPT, RUNS
from llava_edge.cli.option_types import (
    DEVICE,
    BaseOption,
    BundleArgument,
    DeviceOption,
    ImageOption,
    OutOption,
    QuestionOption,
)
from llava_edge.cli.option_values import check_folders


def peers(
    bundle: BundleArgument = None,
    image: ImageOption = None,
    prompt: QuestionOption = PROMPT,
    peers: Annotated[
        str,
        typer.Option(
            help=f"Runtimes to compare with, of {', '.join(PEERS)}, with commas between them.",
            show_default="all",
        ),
    ] = ",".join(PEERS),
    gguf: Annotated[
        Path | None,
        typer.Option(help="GGUF file of the language model in float32, which llama.cpp needs."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint that the bundle was exported from, which transformers needs: a "
            "folder, or a name on the Hub (org/name)."
        ),
    ] = None,
    base: BaseOption = None,
    runs: Annotated[
        int,
        typer.Option(min=1, help="Number of rounds, after one that warms up and is not counted."),
    ] = RUNS,
    device: DeviceOption = DEVICE,
    out: OutOption = None,
) -> None:
    """Ask other runtimes the same, in turns, on the same cores; they compute on the CPU."""
    from llava_edge.bench.peers.ask_peers import ask_peers
    from llava_edge.bench.peers.choose_peers import Weights
    from llava_edge.bench.peers.peers_table import peers_table

    check_folders(out)
    results = ask_peers(
        bundle,
        image or [],
        prompt,
        wanted=[name.strip() for name in peers.split(",") if name.strip()],
        weights=Weights(gguf, checkpoint, base),
        runs=runs,
        device=device,
    )
    text = dumps(asdict(results))
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    Console(highlight=False, markup=False).print(peers_table(results))
    print(text)
