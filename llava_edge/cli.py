"""The command line: a verb reads its flags, imports late and calls one function."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, get_args

import typer

from llava_edge import __version__
from llava_edge.config import DeviceName
from llava_edge.errors import LlavaEdgeError, UsageError
from llava_edge.memory import peak_memory

app = typer.Typer(
    name="llava-edge",
    help="Train, export and run LLaVA-style vision-language models on edge devices.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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


def main() -> None:
    """Run the command line; what the user can mend ends in one line and exit code 1 (2: usage)."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console that lacks a character
    try:
        app()
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


@app.command()
def chat(
    bundle: Annotated[
        Path | None, typer.Option(help="The bundle's folder [default: the demo's].")
    ] = None,
    image: Annotated[
        list[Path] | None, typer.Option(help="A picture to talk about; may be repeated.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Ask this, print the answer and end.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON line with text and timings.")
    ] = False,
    max_tokens: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens.")] = 512,
    temperature: Annotated[
        float, typer.Option(min=0, help="0 always takes the likeliest token.")
    ] = 0.0,
    top_p: Annotated[
        float,
        typer.Option(min=0, max=1, help="Draw among the likeliest tokens of this probability."),
    ] = 1.0,
    seed: Annotated[int | None, typer.Option(min=0, help="Makes drawn answers repeatable.")] = None,
    device: Annotated[str, typer.Option(help="auto or cpu.")] = "auto",
    context: Annotated[
        int | None, typer.Option(help="The longest conversation, in tokens.")
    ] = None,
) -> None:
    """Talk about pictures at the terminal."""
    from llava_edge import terminal
    from llava_edge.model import load

    if json and prompt is None:
        raise UsageError("--json prints one answer; say with --prompt what to ask.")
    options = terminal.Options(max_tokens, temperature, top_p, seed)
    model = load(bundle, device, context=context)
    if prompt is None:
        terminal.converse(model, image or [], options)
    else:
        terminal.answer_once(model, prompt, image or [], options, as_json=json)


@app.command()
def inspect(
    bundle: Annotated[
        Path | None, typer.Argument(help="The bundle's folder [default: the demo's].")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON line.")] = False,
) -> None:
    """Say what a bundle is and check every file of it."""
    from llava_edge import describe

    describe.describe(bundle, as_json=json)


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
        int | None, typer.Option(help="Weights that share a scale [default: 32, nf4: 64].")
    ] = None,
    head_bits: Annotated[
        int | None, typer.Option(help="Of the language model's head: 4, 8 or 16 [default: 8].")
    ] = None,
    embedding_bits: Annotated[
        int | None, typer.Option(help="Of the embedding table: 4, 8 or 16 [default: 8].")
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
    prompt: Annotated[
        str | None, typer.Option(help="The prompt format [default: the checkpoint's].")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there.")] = False,
) -> None:
    """Turn a LLaVA checkpoint into a bundle."""
    with _extra("export"):
        from llava_edge.export import convert
        from llava_edge.export.quantization.precision import Precision
    start = time.perf_counter()
    precision = Precision(
        method=quantize.value,
        block_size=block_size,
        head_bits=head_bits,  # type: ignore[arg-type]  # checked there
        embedding_bits=embedding_bits,  # type: ignore[arg-type]
        tower=tower.value,
    )
    del mixed, mixed_share
    config = convert.export(
        checkpoint,
        out,
        base=base,
        vision_tower=vision_tower,
        precision=precision,
        devices=_devices(devices),
        prompt=prompt,
        force=force,
    )
    size = sum(file.size for file in config.files.values()) / 1e6
    peak = peak_memory()
    memory = f", at most {peak / 1e6:,.0f} MB of memory" if peak else ""
    typer.echo(f"{size:,.0f} MB in {time.perf_counter() - start:.0f} s{memory}")
    typer.echo(f"The bundle is in {out}; talk to it with: llava-edge chat --bundle {out}")


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a TOML file.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Begin anew over an old run.")] = False,
) -> None:
    """Train projector and language model in two stages."""
    with _extra("train"):
        from llava_edge.train import fit
    out = fit.train(recipe, resume=resume, force=force)
    typer.echo(f"The checkpoint is in {out}; export it with: llava-edge export {out} BUNDLE")


def _devices(listed: str) -> tuple[DeviceName, ...]:
    """The devices of a list with commas, in the order that a bundle lists them in."""
    wanted = {name.strip() for name in listed.split(",")}
    if not wanted <= set(get_args(DeviceName)):
        raise UsageError(f'The devices are "{listed}"; give cpu, gpu or cpu,gpu.')
    return tuple(name for name in get_args(DeviceName) if name in wanted)


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Say which extra to install where a library that it brings is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise LlavaEdgeError(
            f"`llava-edge {name}` needs {error.name}, which is not installed; "
            f"run `pip install 'llava-edge[{name}]'`."
        ) from error
