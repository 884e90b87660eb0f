"""A recipe's file: found by path or by a shipped name, read as TOML, with keys set over it."""

import math
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llava_edge.errors import TrainingError
from llava_edge.hub.find_model import is_hub_name

SHIPPED = Path(__file__).parent / "recipes"
# A folder, or the hub's org/name.
MODEL_KEYS = {"vision_tower", "language_model", "init", "checkpoint", "base"}
# What a checkpoint to begin with brings itself, or what only a new projector needs.
INIT_BRINGS = (
    "vision_tower",
    "language_model",
    "projector",
    "projector_weights",
    "vision_feature_layer",
    "vision_feature_select_strategy",
    "image_mode",
    "image_grid_pinpoints",
    "image_token",
    "warm_start",
)
PATH_KEYS = {"out", "records", "images", "projector_weights"}
SOURCE_KEYS = {"data", "evaluation"}

Table = dict[str, Any]


def shipped_names() -> list[str]:
    """The recipes that come with the package, by the names that `find_recipe` knows."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def find_recipe(recipe: Path | str) -> Path:
    """The recipe's file: the path itself, or else the shipped recipe of that name.

    Raises TrainingError if there is neither.
    """
    if Path(recipe).is_file():
        return Path(recipe)
    if str(recipe) in shipped_names():
        return SHIPPED / f"{recipe}.toml"
    raise TrainingError(
        f"There is neither a recipe file {recipe} nor a shipped recipe of that name; give a TOML "
        f"file or one of {', '.join(shipped_names())}."
    )


def read_recipe(file: Path, overrides: Iterable[str] = ()) -> Table:
    """The table of a recipe file, with `key=value` overrides.

    Paths in a file are relative to its folder; in shipped recipes and overrides, to the current
    directory. Raises OSError if the file cannot be read, and ValueError if something in it is
    wrong.
    """
    folder = Path() if file.resolve().parent == SHIPPED.resolve() else file.parent
    table: Table = _resolve(tomllib.loads(file.read_text(encoding="utf-8")), folder)
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise ValueError(f'"{override}" sets nothing; write key=value, such as seed=1')
        keys = [part.strip() for part in key.split(".")]
        _set(table, keys, _resolve(_value(value.strip()), Path(), keys[-1]))
    _check_init(table)
    return table


def _check_init(table: Table) -> None:
    """Raise ValueError where a key says what `init` says already."""
    if "init" in table and (twice := [key for key in INIT_BRINGS if key in table]):
        raise ValueError(f"{twice[0]} does not go with init, which brings all models; drop one")
    init = table.get("init")
    checkpoint = init.get("checkpoint") if isinstance(init, dict) else None
    out = table.get("out")
    if isinstance(checkpoint, str) and isinstance(out, str):
        if Path(out).resolve() in (path := Path(checkpoint).resolve()).parents and path.exists():
            raise ValueError("init lies in out, which belongs to another run; name another out")


def _value(text: str) -> Any:
    """A value in TOML's syntax; any other text is taken as a string."""
    try:
        (value,) = tomllib.loads(f"value = {text}").values()
    except ValueError:
        return text
    return value


def _set(table: Table, keys: list[str], value: Any) -> None:
    """Put a value in its place, and make the tables on the way that are missing.

    The tables of a list are numbered from 0; a list's only table needs no number.
    """
    place: Any = table
    for depth, key in enumerate(keys):
        where = ".".join(keys[:depth])
        if isinstance(place, list):
            if key.isdecimal() and int(key) < len(place):
                place = place[int(key)]
                continue
            if len(place) != 1:
                raise ValueError(
                    f"{where} has {len(place)} entries; say which one, such as {where}.0.{key}"
                )
            place = place[0]
        if not isinstance(place, dict):
            raise ValueError(f"{where} is {place!r}, which has no keys")
        if depth == len(keys) - 1:
            place[key] = value
            return
        place = place.setdefault(key, [{}] if key in SOURCE_KEYS else {})
    raise ValueError(f"{'.'.join(keys)} is a table; say which of its keys is set")


def _resolve(value: Any, folder: Path, key: str = "") -> Any:
    """Make the paths among a table's values relative to `folder`, and one source a list of one."""
    if isinstance(value, dict):
        table = {name: _resolve(item, folder, name) for name, item in value.items()}
        return [table] if key in SOURCE_KEYS else table
    if isinstance(value, list):
        return [_resolve(item, folder, "" if key in SOURCE_KEYS else key) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{key} is {value}, which is not a finite number")
    if isinstance(value, str) and key in PATH_KEYS | MODEL_KEYS:
        located = _locate(value, folder, key)
        return {"checkpoint": located} if key == "init" else located
    return value


def _locate(value: str, folder: Path, key: str) -> str:
    path = folder / Path(value).expanduser()
    if key in MODEL_KEYS and is_hub_name(value) and not path.parent.is_dir():
        return value
    return str(path)
