"""A run's folder: made for a new run, found again by a resumed one, with what the run was."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from llava_edge.errors import TrainingError
from llava_edge.train.provenance import RUN, provenance
from llava_edge.train.recipe import Recipe
from llava_edge.train.watch.guards import last_checkpoint
from llava_edge.train.watch.journal import LOG, PLOT, TENSORBOARD

CHECKPOINTS = ("warm_start", "stage1", "stage2", "adapter", "steps")
ORIGINS = {  # of run.json
    "data": "other records",
    "models": "another vision tower or language model",
    "seed": "another seed",
}
RUN_KEYS = (  # of a recipe; other ones, such as precision, may change while it is trained
    "prompt",
    "projector",
    "vision_feature_layer",
    "vision_feature_select_strategy",
    "image_mode",
    "image_token",
    "max_tokens",
    "bad_records",
)
STEP_KEYS = (  # of a stage: which records a step has, and what it does with them
    "projector_lr",
    "language_model_lr",
    "lora",
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
    """Write `run.json`, or see that a resumed run is what it was in all that its steps depend on.

    Raises TrainingError where data, seed, a model, or a key of what has begun is another one.
    """
    path = recipe.out / RUN
    now = provenance(recipe, fingerprints)
    before = _read(path) if resume else {}
    for what, changed in ORIGINS.items():
        if what in before and before[what] != now[what]:
            raise TrainingError(
                f"The run in {recipe.out} began with {changed}; take the change back, or begin "
                "anew with --force."
            )
    for key, (was, is_now) in _changes(recipe.out, before, now).items():
        raise TrainingError(
            f"The run in {recipe.out} began with {key} = {was}, but the recipe now says {is_now}; "
            "take the change back, or begin anew with --force."
        )
    partial = path.with_name(RUN + ".partial")
    partial.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def _changes(out: Path, before: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Keys with old and new value that matter to what is trained already."""
    old, new = before.get("recipe", {}), now["recipe"]
    begun = [p for p in PART_KEYS if (out / p).exists() or last_checkpoint(out / "steps" / p)]
    parts: list[tuple[str, Any, Any, tuple[str, ...]]] = [
        (f"{part}.", old.get(part) or {}, new[part], PART_KEYS[part]) for part in begun if new[part]
    ]
    if begun:
        parts.insert(0, ("", old, new, RUN_KEYS))
    return {
        prefix + key: (was[key], is_now.get(key))
        for prefix, was, is_now, keys in parts
        for key in keys
        if key in was and was[key] != is_now.get(key)
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or cut off
        return {}
    return content
