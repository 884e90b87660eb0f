"""A recipe: the TOML file that says what is trained, from what, in which stages."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llava_edge.errors import TrainingError
from llava_edge.parse import parse
from llava_edge.records import Data

PATH_KEYS = {"out", "vision_tower", "language_model", "records", "images"}


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters on every linear layer of the language model (arXiv 2106.09685)."""

    rank: int = 32
    alpha: int = 64
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _at_least_one(rank=self.rank, alpha=self.alpha)


@dataclass(frozen=True)
class WarmStart:
    """Before stage 1, the projector alone learns to put an object's rows near its name's word.

    Not in the paper: it needs records with boxes, and no language model is run.
    """

    data: Data
    epochs: int = 10
    learning_rate: float = 1e-3
    batch_size: int = 1024  # rows

    def __post_init__(self) -> None:
        _at_least_one(epochs=self.epochs, batch_size=self.batch_size)


@dataclass(frozen=True)
class Stage:
    """One stage: a learning rate per part, 0 = frozen; the tower is always frozen."""

    data: Data
    projector_lr: float
    language_model_lr: float = 0.0
    lora: Lora | None = None  # without it a language model that learns does so in full
    batch_size: int = 16  # on each device
    epochs: float = 1.0
    warmup_ratio: float = 0.03
    save_steps: int = 200
    log_steps: int = 10

    def __post_init__(self) -> None:
        _at_least_one(
            batch_size=self.batch_size, save_steps=self.save_steps, log_steps=self.log_steps
        )
        if min(self.projector_lr, self.language_model_lr) < 0 or self.epochs <= 0:
            raise ValueError("a learning rate is negative, or epochs is not above 0")
        if self.lora and not self.language_model_lr:
            raise ValueError("lora needs a language_model_lr")


@dataclass(frozen=True)
class Recipe:
    """Folders of the vision tower and the language model, and the two stages that join them."""

    out: Path
    vision_tower: Path
    language_model: Path
    stage1: Stage
    stage2: Stage
    warm_start: WarmStart | None = None
    name: str = "llava"  # what bundles made of it are called
    prompt: Literal["chatml", "vicuna_v1"] = "vicuna_v1"
    projector: Literal["mlp2x_gelu", "linear"] = "mlp2x_gelu"
    vision_feature_layer: int = -2
    vision_feature_select_strategy: Literal["default", "full"] = "default"
    image_token: str = "<image>"  # added to the vocabulary where it is missing
    seed: int = 0
    precision: Literal["bf16", "fp32"] = "bf16"

    def __post_init__(self) -> None:
        if self.stage1.language_model_lr or not self.stage1.projector_lr:
            raise ValueError(
                "stage1 trains the projector alone, so it has projector_lr and no other"
            )
        if not self.stage2.projector_lr and not self.stage2.language_model_lr:
            raise ValueError("stage2 trains nothing, since both its learning rates are 0")

    @property
    def data(self) -> list[Data]:
        """All records and pictures that the recipe names."""
        warm_start = [self.warm_start.data] if self.warm_start else []
        return [*warm_start, self.stage1.data, self.stage2.data]

    @property
    def inputs(self) -> list[Path]:
        """Every file or folder that the recipe reads."""
        files = [path for part in self.data for path in (*part.records, part.images)]
        parts = [
            self.vision_tower / "config.json",
            self.language_model / "config.json",
            self.language_model / "tokenizer.json",
        ]
        return [*parts, *files]


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe; its paths are relative to its own folder.

    Raises TrainingError for a missing file, an unknown or missing key, or a value of a wrong type.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        recipe = parse(Recipe, _resolve(table, path.parent))
    except OSError as error:
        raise TrainingError(
            f"The recipe {path} cannot be read ({error.strerror}); name a TOML file."
        ) from error
    except ValueError as error:  # of TOML itself, or of what it says
        raise TrainingError(f"The recipe {path} is wrong: {error}; correct it.") from error
    for file in recipe.inputs:
        if not file.exists():
            raise TrainingError(
                f"{path} names {file}, which does not exist; make it or correct the recipe."
            )
    return recipe


def _at_least_one(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} is {number}, not 1 or more")


def _resolve(value: Any, folder: Path, key: str = "") -> Any:
    """Make the paths among a table's values relative to `folder`."""
    if isinstance(value, dict):
        return {name: _resolve(item, folder, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, folder, key) for item in value]
    return str(folder / value) if key in PATH_KEYS and isinstance(value, str) else value
