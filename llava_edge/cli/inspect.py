"""`llava-edge inspect`."""

from dataclasses import asdict
from json import dumps

import typer
from rich.console import Console

from llava_edge.cli.inspect_tables import about_table, files_table
from llava_edge.cli.option_types import BundleArgument, JsonOption
from llava_edge.cli.quality_table import print_quality
from llava_edge.runtime.inspect import Inspection


def inspect(bundle: BundleArgument = None, json: JsonOption = False) -> None:
    """Say what a bundle is, and check every file of it."""
    from llava_edge.runtime.inspect import inspect

    found = inspect(bundle)
    if json:
        typer.echo(_as_json(found))
        return
    console = Console(highlight=False, markup=False)
    console.print(about_table(found))
    console.print(files_table(found.config))
    print_quality(found.config)


def _as_json(found: Inspection) -> str:
    memory = asdict(found.memory)
    prompt = {"example": found.example, "ends": found.ends}
    return dumps({"path": str(found.path), **asdict(found.config), "memory": memory, **prompt})
