"""`llava-edge export`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from llava_edge.cli.option_types import (
    GRAPHS,
    AcceptOption,
    BaseOption,
    CheckpointArgument,
    GraphsOption,
    ImagesOption,
    LimitOption,
    MethodOption,
    MixedOption,
    PromptFormatOption,
    RecordsOption,
    VerifyOption,
    VisionTowerOption,
)
from llava_edge.cli.option_values import graphs_for, limits, records_of
from llava_edge.cli.quality_table import print_quality
from llava_edge.core.extras import needed_by
from llava_edge.core.machine import peak_memory
from llava_edge.core.weight_formats import (
    BLOCK_SIZE,
    BLOCK_SIZES,
    CACHE_BITS,
    METHOD,
    NF4_BLOCK_SIZE,
    TOWER,
    TowerFormat,
)
from llava_edge.errors import QualityError


def export(
    checkpoint: CheckpointArgument,
    out: Annotated[
        Path,
        typer.Argument(
            help="Folder to write the bundle to. Unless --force is given, it must not exist yet."
        ),
    ],
    base: BaseOption = None,
    vision_tower: VisionTowerOption = None,
    quantize: MethodOption = METHOD,
    block_size: Annotated[
        int | None,
        typer.Option(
            help=f"Number of weights that share a scale: {', '.join(map(str, BLOCK_SIZES))}.",
            show_default=f"{BLOCK_SIZE}, or {NF4_BLOCK_SIZE} for nf4",
        ),
    ] = None,
    head_bits: Annotated[
        int | None,
        typer.Option(
            help="Bits of a weight in the language model's head, its last layer: 4, 8 or 16.",
            show_default="8",
        ),
    ] = None,
    embedding_bits: Annotated[
        int | None,
        typer.Option(help="Bits of a weight in the embedding table: 4, 8 or 16.", show_default="8"),
    ] = None,
    mixed: MixedOption = False,
    mixed_share: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            metavar="SHARE",
            help="Largest share of the weights, from 0 to 1, that --mixed may keep 8 bits for.",
        ),
    ] = 0.25,
    tower: Annotated[
        TowerFormat, typer.Option(help="How the vision tower and the projector are stored.")
    ] = TOWER,
    devices: GraphsOption = GRAPHS,
    symmetric: Annotated[
        bool | None,
        typer.Option(
            "--symmetric/--zero-points",
            help="Quantize without zero points, which NVIDIA GPUs compute fastest, or with them.",
            show_default="symmetric if gpu is among the devices",
        ),
    ] = None,
    gpu_cache_bits: Annotated[
        int,
        typer.Option(
            help="Bits of a number in the KV cache of a GPU: 16, or 8 for twice the context."
        ),
    ] = CACHE_BITS,
    prompt: PromptFormatOption = None,
    requantize: Annotated[
        bool,
        typer.Option(
            "--requantize",
            help="Quantize anew what the checkpoint holds quantized (GPTQ, AWQ, bitsandbytes, "
            "compressed-tensors, FP8), instead of keeping it as it is.",
        ),
    ] = False,
    verify: VerifyOption = None,
    records: RecordsOption = None,
    images: ImagesOption = None,
    limit: LimitOption = None,
    accept: AcceptOption = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the bundle that is in the folder already.")
    ] = False,
) -> None:
    """Turn a LLaVA checkpoint into a bundle."""
    with needed_by("`llava-edge export`", "export"):
        from llava_edge.export.bundle_check import Check
        from llava_edge.export.export import export
        from llava_edge.export.progress_bars import show_progress
        from llava_edge.export.quantization.precision import Precision
    start = time.perf_counter()
    precision = Precision(
        method=quantize,
        block_size=block_size,
        head_bits=head_bits,  # type: ignore[arg-type]  # checked there
        embedding_bits=embedding_bits,  # type: ignore[arg-type]
        tower=tower,
        symmetric=symmetric,
        gpu_cache_bits=gpu_cache_bits,  # type: ignore[arg-type]
    )
    try:
        with show_progress():
            config = export(
                checkpoint,
                out,
                base=base,
                vision_tower=vision_tower,
                precision=precision,
                mixed_share=mixed_share if mixed else None,
                devices=graphs_for(devices),
                prompt=prompt,
                requantize=requantize,
                data=records_of(records, images),
                check=Check(verify, limits(limit), accept),
                force=force,
            )
    except QualityError as error:
        print_quality(error.config)
        raise
    print_quality(config)
    typer.echo(f"{config.size / 1e6:,.0f} MB in {time.perf_counter() - start:.0f} s{_memory()}")
    typer.echo(f"The bundle is in {out}; talk to it with: llava-edge chat --bundle {out}")


def _memory() -> str:
    peak = peak_memory()
    return f", at most {peak / 1e6:,.0f} MB of memory" if peak else ""
