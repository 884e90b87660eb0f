"""A run's folder: made for a new run, or taken up by a resumed one, with what the run was."""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from llava_edge.core.files import write_atomically
from llava_edge.errors import TrainingError
from llava_edge.train.provenance import RUN, provenance
from llava_edge.train.recipe import Recipe
from llava_edge.train.watch.journal import LOG, PLOT, TENSORBOARD
from llava_edge.train.watch.stage_failures import last_checkpoint

CHECKPOINTS = ("warm_start", "stage1", "stage2", "adapter", "steps")
RUN_KEYS = (  # of a recipe; other ones, such as precision, may change while it is trained
    "prompt",
    "projector",
    "vision_feature_layer",
    "vision_feature_select_strategy",
    "image_mode",
    "image_grid_pinpoints",
    "image_token",
    "max_tokens",
    "bad_records",
)
STEP_KEYS = (  # of a stage: which records a step has, and what it does with them
    "projector_lr",
    "language_model_lr",
    "lora",
    "vision_tower_lr",
    "vision_tower_lora",
    "quantize",
    "optimizer",
    "prompt",
    "picture_place",
    "packing",
    "batch_size",
    "epochs",
    "warmup_ratio",
)
PART_KEYS = {
    "warm_start": ("epochs", "learning_rate", "batch_size"),
    "stage1": STEP_KEYS,
    "stage2": STEP_KEYS,
}
WRITTEN = (*CHECKPOINTS, "init", "features", RUN, TENSORBOARD, LOG, PLOT)  # all of a run


def claim(out: Path, *, resume: bool, force: bool) -> None:
    """Make the run's folder.

    Raises TrainingError if another run is in it and `force` is not given, if there is no run to
    resume, or if it cannot be made or written to.
    """
    if resume and not any((out / name).exists() for name in (*CHECKPOINTS, RUN)):
        raise TrainingError(
            f"There is no run in {out} to go on with; begin one without --resume, or correct out."
        )
    if not (resume or force) and any((out / name).exists() for name in CHECKPOINTS):
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


def clear(out: Path) -> None:
    """Remove all that a run leaves in its folder."""
    for name in WRITTEN:
        shutil.rmtree(out / name, ignore_errors=True)
        (out / name).unlink(missing_ok=True)


def remember(recipe: Recipe, fingerprints: Mapping[str, str], *, resume: bool) -> None:
    """Write `run.json`; for a resumed run, check first that its steps depend on nothing new.

    Raises TrainingError if a model or the seed has changed, or the records or keys of a stage
    that has begun.
    """
    path = recipe.out / RUN
    now = provenance(recipe, fingerprints)
    for change in _changes(recipe.out, _read(path) if resume else {}, now):
        raise TrainingError(
            f"The run in {recipe.out} began with {change}; take the change back, or begin anew "
            "with --force."
        )
    write_atomically(path, json.dumps(now, indent=2) + "\n")


def _changes(out: Path, before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Each change since the run began that matters to what is trained already."""
    changed = {
        "seed": "another seed",
        "models": "another tower or language model",
        "init": "another checkpoint as init",
    }
    for what, was in changed.items():
        if what in before and before[what] != now.get(what):
            yield was
    begun = [p for p in PART_KEYS if (out / p).exists() or last_checkpoint(out / "steps" / p)]
    old, new = before.get("recipe", {}), now["recipe"]
    if begun:
        yield from _other_values("", old, new, RUN_KEYS)
    for part in begun:
        recorded = before.get("data", {})
        if part in recorded and recorded[part] != now["data"].get(part):
            yield f"other records in {part}"
        yield from _other_values(f"{part}.", old.get(part), new[part], PART_KEYS[part])


def _other_values(
    prefix: str, old: dict[str, Any] | None, new: dict[str, Any] | None, keys: Iterable[str]
) -> Iterator[str]:
    if old and new:
        for key in keys:
            if key in old and old[key] != new.get(key):
                yield f"{prefix}{key} = {old[key]}, but the recipe now says {new.get(key)}"


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or cut off
        return {}
    return content
