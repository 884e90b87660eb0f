"""`llava-edge pull`."""

from inspect import signature
from typing import Annotated

import typer

from llava_edge.cli.export import export as export_verb
from llava_edge.cli.option_types import (
    GRAPHS,
    BaseOption,
    GraphsOption,
    MethodOption,
    MixedOption,
    PromptFormatOption,
    VerifyOption,
    VisionTowerOption,
)
from llava_edge.core.extras import needed_by
from llava_edge.core.weight_formats import METHOD
from llava_edge.errors import UsageError


def pull(
    repository: Annotated[str, typer.Argument(help="Name on the Hugging Face Hub (org/name).")],
    name: Annotated[
        str | None,
        typer.Option(help="Name that the bundle gets here.", show_default="what follows org/"),
    ] = None,
    export: Annotated[
        bool,
        typer.Option(
            "--export", help="Fetch a LLaVA checkpoint and export it. Goes with the options below."
        ),
    ] = False,
    base: BaseOption = None,
    vision_tower: VisionTowerOption = None,
    quantize: MethodOption = METHOD,
    mixed: MixedOption = False,
    devices: GraphsOption = GRAPHS,
    prompt: PromptFormatOption = None,
    verify: VerifyOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the bundle that has this name already.")
    ] = False,
) -> None:
    """Fetch a bundle from the Hugging Face Hub, to be called by its name from then on."""
    from llava_edge.hub.pull import pull, target

    exporting = {
        "base": base,
        "vision_tower": vision_tower,
        "quantize": quantize,
        "mixed": mixed,
        "devices": devices,
        "prompt": prompt,
        "verify": verify,
    }
    if export:
        export_verb(repository, target(repository, name), **exporting, force=force)  # type: ignore[arg-type]
        return
    defaults = signature(export_verb).parameters
    if others := [
        option for option, value in exporting.items() if value != defaults[option].default
    ]:
        option = others[0].replace("_", "-")
        raise UsageError(f"--{option} is for an export; give --export too, or leave it out.")
    with needed_by("`llava-edge pull`", "export"):
        path = pull(repository, name, force=force)
    typer.echo(f"The bundle is in {path}; talk to it with: llava-edge chat --bundle {path.name}")
