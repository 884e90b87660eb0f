"""`llava-edge train` and `merge`: they read flags, import late and call one function."""

import os
from pathlib import Path
from typing import Annotated

import typer

from llava_edge.core.extras import needed_by
from llava_edge.errors import UsageError


def _list_recipes(wanted: bool) -> None:
    if wanted:
        from llava_edge.train.recipe_file import shipped_names

        typer.echo("\n".join(shipped_names()))
        raise typer.Exit


def train(
    recipe: Annotated[str, typer.Argument(help="A TOML file, or the name of a shipped recipe.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="KEY=VALUE over the recipe's own, such as stage2.epochs=2; may be repeated.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print steps, parameters and memory; train nothing.")
    ] = False,
    devices: Annotated[
        int | None, typer.Option(min=1, help="How many a dry run counts with.", show_default="1")
    ] = None,
    fits: Annotated[
        bool,
        typer.Option("--fits", help="Print what fits on cards of several sizes; train nothing."),
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Begin anew over an old run.")] = False,
    _list: Annotated[
        bool,
        typer.Option(
            "--list", help="Print the shipped recipes.", callback=_list_recipes, is_eager=True
        ),
    ] = False,
) -> None:
    """Train projector and language model in two stages."""
    if devices is not None and not dry_run:
        raise UsageError(
            "--devices goes with --dry-run; to train on several, begin with "
            "torchrun --nproc-per-node N -m llava_edge train."
        )
    if resume and force:
        raise UsageError(
            "--resume goes on with a run and --force begins it anew; give one of them."
        )
    if dry_run and fits:
        raise UsageError("--dry-run plans one run and --fits several; give one of them.")
    if dry_run:
        return _plan_training(recipe, overrides or [], devices or 1)
    if fits:
        return _print_fits(recipe, overrides or [])
    first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts
    try:
        from llava_edge.train.train import train as run

        out = run(recipe, overrides or [], resume=resume, force=force)
    except KeyboardInterrupt:
        if first:
            typer.echo("Stopped; --resume goes on from the last checkpoint.", err=True)
        raise typer.Exit(130) from None
    if first:
        typer.echo(f"The checkpoint is in {out}; export it with: llava-edge export {out} BUNDLE")


def merge(
    adapter: Annotated[Path, typer.Argument(help="The adapter folder of a run.")],
    out: Annotated[Path, typer.Argument(help="The checkpoint's folder, which must not exist yet.")],
    base: Annotated[
        Path | None,
        typer.Option(
            help="The language model's folder.", show_default="the one it was trained from"
        ),
    ] = None,
) -> None:
    """Put an adapter into its language model: a whole LLaVA checkpoint."""
    with needed_by("`llava-edge merge`", "train"):
        from llava_edge.train.checkpoints import merge as merging
    merging.merge(adapter, out, base)
    typer.echo(f"The checkpoint is in {out}; export it with: llava-edge export {out} BUNDLE")


def _plan_training(recipe: str, overrides: list[str], devices: int) -> None:
    with needed_by("`llava-edge train`", "train"):
        from llava_edge.train.planning.plan import make_plan
        from llava_edge.train.planning.plan_table import print_plan
        from llava_edge.train.recipe import load_recipe
    print_plan(make_plan(load_recipe(recipe, overrides), devices))


def _print_fits(recipe: str, overrides: list[str]) -> None:
    with needed_by("`llava-edge train`", "train"):
        from llava_edge.train.planning.fits import print_fits
        from llava_edge.train.planning.plan import make_plan
        from llava_edge.train.recipe import load_recipe
    print_fits(make_plan(load_recipe(recipe, overrides)))
