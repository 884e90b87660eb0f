"""The command line: a verb reads its flags, imports late and calls one function."""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from enum import StrEnum
from json import dumps
from pathlib import Path
from typing import Annotated, get_args

import typer

from llava_edge.cli import bench, chat, data, train
from llava_edge.cli.chat import pairs
from llava_edge.core.bundle_config import DeviceName
from llava_edge.core.extras import needed_by
from llava_edge.core.machine import peak_memory
from llava_edge.core.version import __version__
from llava_edge.data.records import Data, load_records
from llava_edge.errors import LlavaEdgeError, QualityError, UsageError

app = typer.Typer(
    name="llava-edge",
    help="Train, export and run LLaVA-style vision-language models on edge devices.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(bench.app, name="bench")
app.add_typer(data.app, name="data")


class Quantize(StrEnum):
    """How the language model's weights are stored."""

    kquant = "kquant"
    rtn = "rtn"
    nf4 = "nf4"
    calibrated = "calibrated"
    none = "none"


class Tower(StrEnum):
    """How the vision tower's weights are stored."""

    fp16 = "fp16"
    fp32 = "fp32"
    int8 = "int8"


RecordsOption = Annotated[
    Path | None, typer.Option(help="LLaVA records to measure on, instead of drawn pictures.")
]
ImagesOption = Annotated[
    Path | None,
    typer.Option(help="The folder of the records' pictures.", show_default="the records'"),
]
LimitOption = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=VALUE, such as kl_mean=0.1, instead of a usual limit; may be repeated."
    ),
]
AcceptOption = Annotated[
    bool, typer.Option("--accept", help="Keep a bundle that breaks a limit, and record that.")
]


def main() -> None:
    """Run `llava-edge`."""
    run(app)


def run(command: Callable[[], object]) -> None:
    """Run a command line; what the user can mend ends in one line and exit code 1 (2: usage)."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console that lacks a character
    try:
        command()
    except LlavaEdgeError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llava-edge {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Train, export and run LLaVA-style vision-language models on edge devices."""


app.command()(chat.chat)


@app.command()
def inspect(
    bundle: Annotated[
        Path | None, typer.Argument(help="The bundle's folder.", show_default="the demo's")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON line.")] = False,
) -> None:
    """Say what a bundle is and check every file of it."""
    from llava_edge.cli import inspect as showing

    showing.describe(bundle, as_json=json)


@app.command()
def export(
    checkpoint: Annotated[
        str, typer.Argument(help="The folder of a LLaVA checkpoint, or the hub's org/name.")
    ],
    out: Annotated[Path, typer.Argument(help="The bundle's folder, which must not exist yet.")],
    base: Annotated[
        str | None,
        typer.Option(
            help="The model that an adapter or a projector needs: folder, GGUF, org/name."
        ),
    ] = None,
    vision_tower: Annotated[
        str | None, typer.Option(help="The tower that an original checkpoint names.")
    ] = None,
    quantize: Annotated[
        Quantize, typer.Option(help="How the language model's weights are stored.")
    ] = Quantize.kquant,
    block_size: Annotated[
        int | None, typer.Option(help="Weights that share a scale.", show_default="32, nf4: 64")
    ] = None,
    head_bits: Annotated[
        int | None, typer.Option(help="Of the language model's head: 4, 8 or 16.", show_default="8")
    ] = None,
    embedding_bits: Annotated[
        int | None, typer.Option(help="Of the embedding table: 4, 8 or 16.", show_default="8")
    ] = None,
    mixed: Annotated[
        bool, typer.Option("--mixed", help="Keep 8 bits in the layers that 4 hurt most.")
    ] = False,
    mixed_share: Annotated[
        float, typer.Option(min=0, max=1, help="The most weights that --mixed keeps 8 bits for.")
    ] = 0.25,
    tower: Annotated[
        Tower, typer.Option(help="How vision tower and projector are stored.")
    ] = Tower.fp16,
    devices: Annotated[str, typer.Option(help="What to write graphs for.")] = "cpu,gpu",
    symmetric: Annotated[
        bool | None,
        typer.Option(
            "--symmetric/--zero-points",
            help="Blocks without zero points, which NVIDIA GPUs compute fastest, or with them.",
            show_default="symmetric where gpu is among the devices",
        ),
    ] = None,
    gpu_cache_bits: Annotated[
        int, typer.Option(help="Of the KV cache on a GPU: 16, or 8 for twice the context.")
    ] = 16,
    prompt: Annotated[
        str | None, typer.Option(help="The prompt format.", show_default="the checkpoint's")
    ] = None,
    verify: Annotated[
        bool | None,
        typer.Option(
            "--verify/--no-verify",
            help="Compare the bundle with the checkpoint.",
            show_default="where torch is installed",
        ),
    ] = None,
    records: RecordsOption = None,
    images: ImagesOption = None,
    limit: LimitOption = None,
    accept: AcceptOption = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there.")] = False,
) -> None:
    """Turn a LLaVA checkpoint into a bundle."""
    with needed_by("`llava-edge export`", "export"):
        from llava_edge.export.bundle_check import Check
        from llava_edge.export.export import export as run_export
        from llava_edge.export.progress_bars import show_progress
        from llava_edge.export.quantization.precision import Precision
    from llava_edge.cli.inspect import print_quality

    start = time.perf_counter()
    precision = Precision(
        method=quantize.value,
        block_size=block_size,
        head_bits=head_bits,  # type: ignore[arg-type]  # checked there
        embedding_bits=embedding_bits,  # type: ignore[arg-type]
        tower=tower.value,
        symmetric=symmetric,
        gpu_cache_bits=gpu_cache_bits,  # type: ignore[arg-type]
    )
    try:
        with show_progress():
            config = run_export(
                checkpoint,
                out,
                base=base,
                vision_tower=vision_tower,
                precision=precision,
                mixed_share=mixed_share if mixed else None,
                devices=_devices(devices),
                prompt=prompt,
                data=_data(records, images),
                check=Check(verify, _limits(limit), accept),
                force=force,
            )
    except QualityError as error:
        print_quality(error.config)
        raise
    print_quality(config)
    size = sum(file.size for file in config.files.values()) / 1e6
    peak = peak_memory()
    memory = f", at most {peak / 1e6:,.0f} MB of memory" if peak else ""
    typer.echo(f"{size:,.0f} MB in {time.perf_counter() - start:.0f} s{memory}")
    typer.echo(f"The bundle is in {out}; talk to it with: llava-edge chat --bundle {out}")


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    against: Annotated[
        str, typer.Option(help="The checkpoint that it was exported from, or the hub's org/name.")
    ],
    base: Annotated[str | None, typer.Option(help="As for export.")] = None,
    vision_tower: Annotated[str | None, typer.Option(help="As for export.")] = None,
    records: RecordsOption = None,
    images: ImagesOption = None,
    limit: LimitOption = None,
    accept: AcceptOption = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON line.")] = False,
) -> None:
    """Compare a bundle with its checkpoint, on the same pictures and prompts."""
    with needed_by("`llava-edge verify`", "verify"):
        from llava_edge.export.verify import verify as compare
    from llava_edge.cli.inspect import print_quality
    from llava_edge.export.progress_bars import show_progress
    from llava_edge.export.quality_limits import refuse_broken

    with show_progress():
        config = compare(
            bundle,
            against,
            base=base,
            vision_tower=vision_tower,
            data=_data(records, images),
            limits=_limits(limit),
            accept=accept,
        )
    if json and config.quality is not None:
        typer.echo(dumps(asdict(config.quality)))
    else:
        print_quality(config)
    refuse_broken(config)


@app.command()
def sensitivity(
    checkpoint: Annotated[
        str, typer.Argument(help="The folder of a LLaVA checkpoint, or the hub's org/name.")
    ],
    out: Annotated[Path, typer.Argument(help="The file to write, such as sensitivity.json.")],
    base: Annotated[str | None, typer.Option(help="As for export.")] = None,
    vision_tower: Annotated[str | None, typer.Option(help="As for export.")] = None,
    quantize: Annotated[Quantize, typer.Option(help="By which method.")] = Quantize.kquant,
    block_size: Annotated[int | None, typer.Option(help="As for export.")] = None,
    records: RecordsOption = None,
    images: ImagesOption = None,
) -> None:
    """Measure what 4 bits cost in each linear layer, for --mixed."""
    with needed_by("`llava-edge sensitivity`", "verify"):
        from llava_edge.export.layouts.checkpoint import open_checkpoint
        from llava_edge.export.progress_bars import show_progress
        from llava_edge.export.quantization.precision import Precision
        from llava_edge.export.sensitivity import measure
        from llava_edge.export.sensitivity_file import write_sensitivity
        from llava_edge.export.tune import check_tunable
    if not out.resolve().parent.is_dir():
        raise UsageError(f"{out} cannot be written, since its folder is missing; make it first.")
    data = _data(records, images)
    precision = Precision(method=quantize.value, block_size=block_size)
    opened = open_checkpoint(checkpoint, base=base, vision_tower=vision_tower)
    check_tunable(opened, precision, mixed=True)
    with show_progress():
        found = measure(opened, precision, data and load_records(data))
    write_sensitivity(out, found)
    for name, divergence in sorted(found.divergence.items(), key=lambda item: -item[1])[:10]:
        typer.echo(f"{divergence:.5f}  {name}")
    typer.echo(f"Measured on {found.tokens:,} tokens and written to {out}.")


app.command()(train.train)
app.command()(train.merge)


def _data(records: Path | None, images: Path | None) -> Data | None:
    """The records to compare on."""
    if records is None:
        if images is not None:
            raise UsageError("--images is the folder of the records' pictures; give --records too.")
        return None
    return Data((records,), images or records.parent)


def _limits(given: list[str] | None) -> dict[str, float]:
    """Limits by name."""
    return pairs("limit", given, "kl_mean=0.1")


def _devices(listed: str) -> tuple[DeviceName, ...]:
    """The devices of a list with commas, in the order that a bundle lists them in."""
    wanted = {name.strip() for name in listed.split(",")}
    if not wanted <= set(get_args(DeviceName)):
        raise UsageError(f'The devices are "{listed}"; give cpu, gpu or cpu,gpu.')
    return tuple(name for name in get_args(DeviceName) if name in wanted)
