"""`llava-edge list`."""

from json import dumps

import typer
from rich.console import Console
from rich.table import Table

from llava_edge.cli.option_types import JsonOption
from llava_edge.cli.shown_warnings import shown_warnings
from llava_edge.core.bundle_config import BundleConfig
from llava_edge.core.stored_models import StoredModel, models
from llava_edge.core.user_folders import models_folder

COLUMNS = ("name", "size", "model", "context", "devices", "prompts", "checkpoint")


@shown_warnings()
def list(json: JsonOption = False) -> None:
    """Say which bundles can be named instead of their folders."""
    found = models()
    if json:
        typer.echo(dumps([_as_json(model) for model in found]))
    elif found:
        Console(highlight=False, markup=False).print(_table(found))
    else:
        typer.echo(f"There is no bundle in {models_folder()} yet; `llava-edge pull` fetches one.")


def _as_json(model: StoredModel) -> dict[str, object]:
    config = model.config
    return {
        "name": model.name,
        "path": str(model.path),
        "size": config.size,
        "title": config.name,
        "vision_tower": config.vision.model_type,
        "weights": config.quantization.weights,
        "bits_per_weight": config.quantization.bits_per_weight,
        "context": config.decoder.context_length,
        "devices": config.devices,
        "prompts": config.prompt.name,
        "checkpoint": config.provenance.get("checkpoint"),
    }


def _table(found: tuple[StoredModel, ...]) -> Table:
    table = Table(*COLUMNS, box=None)
    for model in found:
        table.add_row(model.name, *_cells(model.config))
    for number in (1, 3):
        table.columns[number].justify = "right"
    return table


def _cells(config: BundleConfig) -> tuple[str, ...]:
    """Of all columns but the first."""
    weights = f"{config.quantization.weights / 1e6:,.0f} M"
    return (
        f"{config.size / 1e6:,.0f} MB",
        f"{config.vision.model_type}, {weights}",
        f"{config.decoder.context_length:,}",
        ", ".join(config.devices),
        config.prompt.name,
        config.provenance.get("checkpoint", ""),
    )
