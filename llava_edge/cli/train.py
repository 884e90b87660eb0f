"""`llava-edge train`."""

import os
from typing import Annotated

import typer

from llava_edge.cli.option_types import RecipeArgument, SetOption
from llava_edge.core.extras import needed_by
from llava_edge.errors import UsageError


def _list_recipes(wanted: bool) -> None:
    if wanted:
        from llava_edge.train.recipe_file import shipped_names

        typer.echo("\n".join(shipped_names()))
        raise typer.Exit


def train(
    recipe: RecipeArgument,
    overrides: SetOption = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the steps, parameters and memory of the run; train nothing."
        ),
    ] = False,
    devices: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of devices that --dry-run reckons with.", show_default="1"
        ),
    ] = None,
    fits: Annotated[
        bool,
        typer.Option(
            "--fits",
            help="Print how many records fit at once on cards of several sizes; train nothing.",
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Begin anew, and delete what an old run has left.")
    ] = False,
    _list: Annotated[
        bool,
        typer.Option(
            "--list",
            help="Print the names of the recipes that come with llava-edge.",
            callback=_list_recipes,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Train projector and language model in two stages."""
    _check_together(dry_run=dry_run, devices=devices, fits=fits, resume=resume, force=force)
    if dry_run or fits:
        _print_plan(recipe, overrides or [], devices or 1, fits=fits)
    else:
        _train(recipe, overrides or [], resume=resume, force=force)


def _check_together(
    *, dry_run: bool, devices: int | None, fits: bool, resume: bool, force: bool
) -> None:
    """Refuse options that contradict one another."""
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


def _train(recipe: str, overrides: list[str], *, resume: bool, force: bool) -> None:
    first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts
    try:
        from llava_edge.train.train import train as run

        out = run(recipe, overrides, resume=resume, force=force)
    except KeyboardInterrupt:
        if first:
            typer.echo("Stopped; --resume goes on from the last checkpoint.", err=True)
        raise typer.Exit(130) from None
    if first:
        typer.echo(f"The checkpoint is in {out}; export it with: llava-edge export {out} BUNDLE")


def _print_plan(recipe: str, overrides: list[str], devices: int, *, fits: bool) -> None:
    with needed_by("`llava-edge train`", "train"):
        from llava_edge.train.planning.plan import make_plan
        from llava_edge.train.planning.plan_table import print_plan
        from llava_edge.train.planning.records_per_card import print_fits
        from llava_edge.train.planning.refusals import require_runnable
        from llava_edge.train.recipe import load_recipe
    plan = make_plan(load_recipe(recipe, overrides), devices)
    if fits:
        print_fits(plan)
    else:
        print_plan(plan)
        require_runnable(plan.recipe, plan.tables)
