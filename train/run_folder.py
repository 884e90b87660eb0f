"""A run's folder: made for a new run, found again by a resumed one, with what the run was."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from llava_edge.errors import TrainingError
from llava_edge.train.journal import LOG, PLOT, TENSORBOARD
from llava_edge.train.provenance import RUN, provenance
from llava_edge.train.recipe import Recipe

CHECKPOINTS = ("warm_start", "stage1", "stage2", "adapter", "steps")
WRITTEN = (*CHECKPOINTS, "features", RUN, TENSORBOARD, LOG, PLOT)  # all of a run


def claim(out: Path, *, resume: bool, force: bool) -> None:
    """Make the run's folder, without what an old run left there if `force`.

    Raises TrainingError where another run is in it, where there is none to resume, or where it
    cannot be made or written to.
    """
    if resume and not any((out / name).exists() for name in (*CHECKPOINTS, RUN)):
        raise TrainingError(
            f"There is no run in {out} to go on with; begin one without --resume, or correct out."
        )
    if force and not resume:
        for name in WRITTEN:
            shutil.rmtree(out / name, ignore_errors=True)
            (out / name).unlink(missing_ok=True)
    if not resume and any((out / name).exists() for name in CHECKPOINTS):
        raise TrainingError(
            f"{out} already holds a run; go on with it by --resume, or begin anew by --force."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out):  # it may be a folder that only others write to
            pass
    except OSError as error:
        raise TrainingError(
            f"The run's folder {out} cannot be made or written to ({error.strerror}); name another "
            "as out."
        ) from error


def remember(recipe: Recipe, fingerprints: Mapping[str, str], *, resume: bool) -> None:
    """Write `run.json`, or see that a resumed run is of the same data and seed.

    Raises TrainingError where it is not, since its steps would then see other records.
    """
    path = recipe.out / RUN
    now = provenance(recipe, fingerprints)
    before = _read(path) if resume else {}
    for what in ("data", "seed"):
        if what in before and before[what] != now[what]:
            raise TrainingError(
                f"The run in {recipe.out} began with another {what}; take the change back, or "
                "begin anew with --force."
            )
    path.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or cut off
        return {}
    return content
