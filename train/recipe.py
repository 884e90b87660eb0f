"""A recipe: the TOML file that says what is trained, from what, in which stages."""

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from llava_edge.errors import TrainingError
from llava_edge.prompt import PROMPTS


@dataclass(frozen=True)
class Data:
    """Records (LLaVA JSON) and the folder that their pictures are relative to."""

    records: tuple[Path, ...]
    images: Path
    limit: int | None = None  # of records used, the first ones


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters on every linear layer of the language model (arXiv 2106.09685)."""

    rank: int = 32
    alpha: int = 64
    dropout: float = 0.0


@dataclass(frozen=True)
class WarmStart:
    """Before stage 1, the projector alone learns to put an object's rows near its name's word.

    Not in the paper: it needs records with boxes, and no language model is run.
    """

    data: Data
    epochs: int = 10
    learning_rate: float = 1e-3
    batch_size: int = 1024  # rows


@dataclass(frozen=True)
class Stage:
    """One stage: a learning rate per part, 0 = frozen; the tower is always frozen."""

    data: Data
    projector_lr: float
    language_model_lr: float = 0.0
    lora: Lora | None = None  # without it a language model that learns does so in full
    batch_size: int = 16
    epochs: float = 1.0
    warmup_ratio: float = 0.03
    save_steps: int = 200
    log_steps: int = 10


@dataclass(frozen=True)
class Recipe:
    """Folders of the vision tower and the language model, and the two stages that join them."""

    name: str
    out: Path
    vision_tower: Path
    language_model: Path
    stage1: Stage
    stage2: Stage
    warm_start: WarmStart | None = None
    prompt: Literal["chatml", "vicuna_v1"] = "vicuna_v1"
    projector: Literal["mlp2x_gelu", "linear"] = "mlp2x_gelu"
    vision_feature_layer: int = -2
    vision_feature_select_strategy: Literal["default", "full"] = "default"
    image_token: str = "<image>"  # added to the vocabulary where it is missing
    seed: int = 0
    precision: Literal["bf16", "fp32"] = "bf16"
    source: Path = field(default=Path("recipe.toml"))  # the file read

    @property
    def inputs(self) -> list[Path]:
        """Every file or folder that the recipe reads."""
        data = [self.stage1.data, self.stage2.data]
        if self.warm_start:
            data.append(self.warm_start.data)
        files = [path for part in data for path in (*part.records, part.images)]
        return [self.vision_tower, self.language_model, *files]


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe; its paths are relative to its own folder.

    Raises TrainingError for a missing file, an unknown or missing key, or a value of a wrong type.
    """
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise TrainingError(
            f"The recipe {path} cannot be read ({error.strerror}); name a TOML file."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise TrainingError(f"The recipe {path} is not TOML ({error}); correct it.") from error
    recipe: Recipe = _Reader(path).build(Recipe, {**table, "source": path.name}, "")
    for file in recipe.inputs:
        if not file.exists():
            raise TrainingError(
                f"{path} names {file}, which does not exist; make it or correct the recipe."
            )
    assert recipe.prompt in PROMPTS
    return recipe


class _Reader:
    """Turns TOML tables into the dataclasses above, strictly."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def build(self, kind: type[Any], table: Mapping[str, Any], where: str) -> Any:
        hints = get_type_hints(kind)
        unknown = sorted(set(table) - set(hints))
        if unknown:
            raise self._error(f"has the unknown key {where}{unknown[0]}", f"use {_list(hints)}")
        for item in fields(kind):
            if item.name not in table and item.default is MISSING:
                raise self._error(f"lacks {where}{item.name}", "add it")
        return kind(**{k: self._value(hints[k], v, where + k) for k, v in table.items()})

    def _value(self, hint: Any, value: Any, where: str) -> Any:
        if get_origin(hint) is UnionType:  # X | None: TOML has no null
            hint = get_args(hint)[0]
        if isinstance(value, Mapping) and isinstance(hint, type):
            return self.build(hint, value, f"{where}.")
        if get_origin(hint) is tuple and isinstance(value, list):
            return tuple(self._value(get_args(hint)[0], item, where) for item in value)
        if get_origin(hint) is Literal and value in get_args(hint):
            return value
        if hint is Path and isinstance(value, str):
            return self._path.parent / value
        if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if isinstance(hint, type) and type(value) is hint:
            return value
        raise self._error(f"has {where} = {value!r}", f"give {_describe(hint)}")

    def _error(self, what: str, cure: str) -> TrainingError:
        return TrainingError(f"The recipe {self._path} {what}; {cure}.")


def _list(names: Any) -> str:
    return ", ".join(sorted(names))


def _describe(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if get_origin(hint) is tuple:
        return "a list"
    return {Path: "a path", float: "a number", int: "a whole number", str: "words"}.get(
        hint, "a table"
    )
