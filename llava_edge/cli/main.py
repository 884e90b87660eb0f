"""The command line: every verb has a file, which reads flags and calls the verb's function."""

from typing import Annotated

import typer

from llava_edge.cli.ask import ask
from llava_edge.cli.bench_latency import latency
from llava_edge.cli.bench_peers import peers
from llava_edge.cli.bench_serve import serve as serve_load
from llava_edge.cli.bench_training import training
from llava_edge.cli.chat import chat
from llava_edge.cli.data_check import check
from llava_edge.cli.data_show import show
from llava_edge.cli.export import export
from llava_edge.cli.inspect import inspect
from llava_edge.cli.list import list
from llava_edge.cli.merge import merge
from llava_edge.cli.pull import pull
from llava_edge.cli.remove import remove
from llava_edge.cli.sensitivity import sensitivity
from llava_edge.cli.serve import serve
from llava_edge.cli.train import train
from llava_edge.cli.verify import verify
from llava_edge.core.version import __version__

app = typer.Typer(
    name="llava-edge",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
bench = typer.Typer(help="Measure bundles and training on this machine.", no_args_is_help=True)
data = typer.Typer(help="Look at records before training on them.", no_args_is_help=True)

app.command()(chat)
app.command()(ask)
app.command()(serve)
app.command()(list)
app.command()(pull)
app.command()(remove)
app.command()(inspect)
app.command()(export)
app.command()(verify)
app.command()(sensitivity)
app.command()(train)
app.command()(merge)
bench.command()(latency)
bench.command()(peers)
bench.command()(serve_load)
bench.command()(training)
data.command()(check)
data.command()(show)
app.add_typer(bench, name="bench")
app.add_typer(data, name="data")


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
