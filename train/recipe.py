"""A recipe: the TOML file that says what is trained, from what, in which stages."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llava_edge.core.bundle_config import PromptConfig
from llava_edge.core.prompt import PROMPTS
from llava_edge.core.strict import parse
from llava_edge.data.records import RecordSource
from llava_edge.data.shards import expand
from llava_edge.errors import TrainingError
from llava_edge.hub.find_model import is_hub_name
from llava_edge.train.recipe_file import find_recipe, read_recipe

PromptName = Literal[
    "chatml", "llama_2", "llama_3", "mistral", "phi", "qwen", "v0", "v1", "vicuna_v1"
]

USUAL_PROMPT: PromptName = "vicuna_v1"


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters on every linear layer of a part (arXiv 2106.09685)."""

    rank: int = 32
    alpha: int = 64
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _at_least_one(rank=self.rank, alpha=self.alpha)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, not in 0..1")


@dataclass(frozen=True)
class WarmStart:
    """Before stage 1, the projector alone learns to put an object's rows near its name's word.

    Not in the paper: it needs records with boxes, and no language model is run.
    """

    data: tuple[RecordSource, ...]
    epochs: int = 10
    learning_rate: float = 1e-3
    batch_size: int = 1024  # rows

    def __post_init__(self) -> None:
        _at_least_one(epochs=self.epochs, batch_size=self.batch_size)
        if not self.data:
            raise ValueError("data is empty")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate is {self.learning_rate}, not above 0")


@dataclass(frozen=True)
class Stage:
    """One stage: a learning rate per part, 0 = frozen."""

    data: tuple[RecordSource, ...]
    projector_lr: float
    language_model_lr: float = 0.0
    vision_tower_lr: float = 0.0  # LLaVA-NeXT's mm_vision_tower_lr
    lora: Lora | None = None  # without it a language model that learns does so in full
    vision_tower_lora: Lora | None = None  # the same for the tower
    quantize: Literal["nf4"] | None = None  # how a frozen language model is held (arXiv 2305.14314)
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    gradient_checkpointing: bool | int = False  # of all layers, or of the first so many
    prompt: Literal["plain"] | None = None  # plain: caption alone, the question is left out
    picture_place: Literal["written", "first", "random"] = "written"
    packing: bool = True  # several records in a row, none of which attends to another
    batch_size: int = 16  # records a step, of all devices together
    device_batch_size: int | None = (
        None  # records a device computes at once; by default all its own
    )
    epochs: float = 1.0
    warmup_ratio: float = 0.03
    save_steps: int = 200
    log_steps: int = 10
    evaluation: tuple[RecordSource, ...] = ()  # held-out records
    eval_steps: int = 200

    def __post_init__(self) -> None:
        _at_least_one(
            batch_size=self.batch_size,
            save_steps=self.save_steps,
            log_steps=self.log_steps,
            eval_steps=self.eval_steps,
        )
        if not self.data:
            raise ValueError("data is empty")
        for name in ("projector_lr", "language_model_lr", "vision_tower_lr"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, not 0 or more")
        if self.gradient_checkpointing < 0:
            raise ValueError(
                f"gradient_checkpointing is {self.gradient_checkpointing}; give true, false or a "
                "number of layers"
            )
        if self.epochs <= 0:
            raise ValueError(f"epochs is {self.epochs}, not above 0")
        if not 0 <= self.warmup_ratio < 1:
            raise ValueError(f"warmup_ratio is {self.warmup_ratio}, not in 0..1")
        if self.lora and not self.language_model_lr:
            raise ValueError("lora needs a language_model_lr")
        if self.vision_tower_lora and not self.vision_tower_lr:
            raise ValueError("vision_tower_lora needs a vision_tower_lr")
        if self.quantize and self.language_model_lr and not self.lora:
            raise ValueError("a quantized language model cannot learn in full; add lora")
        if self.device_batch_size is not None:
            _at_least_one(device_batch_size=self.device_batch_size)
            if self.batch_size % self.device_batch_size:
                raise ValueError(
                    f"batch_size {self.batch_size} is no multiple of device_batch_size "
                    f"{self.device_batch_size}"
                )

    @property
    def others_learn(self) -> bool:
        """Whether more than the projector learns."""
        return bool(self.language_model_lr or self.vision_tower_lr)

    def share(self, devices: int) -> int:
        """A device's records of a step; raises TrainingError if the shares cannot be equal."""
        share, rest = divmod(self.batch_size, devices)
        if rest:
            raise TrainingError(
                f"batch_size {self.batch_size} cannot be shared equally by {devices} devices; make "
                f"it a multiple of {devices}."
            )
        return share

    def split(self, devices: int) -> tuple[int, int]:
        """How a step's records are computed: so many on a device at once, so many times in a row.

        Raises TrainingError if the devices cannot have equal shares.
        """
        share = self.share(devices)
        at_once = min(self.device_batch_size or share, share)
        if share % at_once:
            raise TrainingError(
                f"batch_size {self.batch_size} gives each of {devices} devices {share} records, "
                f"which is no multiple of device_batch_size {at_once}; change one of them."
            )
        return at_once, share // at_once


@dataclass(frozen=True)
class Init:
    """A LLaVA checkpoint to begin with; folders, or the hub's org/name."""

    checkpoint: str
    base: str | None = None  # that it builds on; by default the one that it names
    vision_tower: str | None = None  # likewise

    @property
    def models(self) -> tuple[str, ...]:
        """All that are named."""
        return tuple(filter(None, (self.checkpoint, self.base, self.vision_tower)))


@dataclass(frozen=True)
class Recipe:
    """The vision tower and the language model, or `init`, and the stages that train them."""

    out: Path
    vision_tower: str = ""  # a folder, or the hub's org/name
    language_model: str = ""
    stage1: Stage | None = None
    stage2: Stage | None = None
    init: Init | None = None  # a whole LLaVA instead, whose keys `take_over` sets
    projector_weights: Path | None = None  # a checkpoint or mm_projector.bin to begin with
    warm_start: WarmStart | None = None
    name: str = "llava"  # what bundles made of it are called
    prompt: PromptName | None = None  # by default vicuna_v1, or what `init` has
    projector: Literal["mlp2x_gelu", "linear"] = "mlp2x_gelu"
    vision_feature_layer: int = -2
    vision_feature_select_strategy: Literal["default", "full"] = "default"
    image_mode: Literal["square", "pad"] | None = None  # by default what the tower's folder says
    image_grid_pinpoints: tuple[tuple[int, int], ...] = ()  # LLaVA-NeXT's (height, width) of tiles
    image_token: str = "<image>"  # added to the vocabulary where it is missing
    max_tokens: int = 2048  # of a record, image tokens included; the rest is cut off
    bad_records: Literal["stop", "skip", "refuse"] = "stop"
    parallel: Literal["ddp", "fsdp"] = "ddp"  # where several processes train together
    feature_cache: float = 8.0  # GB of disk for what the frozen tower yields; 0 = none
    seed: int = 0
    precision: Literal["auto", "bf16", "fp32"] = "auto"  # auto: bf16 where the device computes it
    report_to: tuple[str, ...] = ()  # as transformers has it: "wandb", "trackio" and others

    def __post_init__(self) -> None:
        for name in ("vision_tower", "language_model"):
            if self.init is None and not getattr(self, name):
                raise ValueError(f"{name} is missing")
        if not self.stages:
            raise ValueError("stage1 and stage2 are missing; at least one is needed")
        if self.stage1 and (self.stage1.others_learn or not self.stage1.projector_lr):
            raise ValueError(
                "stage1 trains the projector alone: give it a projector_lr and no other rate"
            )
        if self.stage2 and not (self.stage2.projector_lr or self.stage2.others_learn):
            raise ValueError("stage2 trains nothing, since all its learning rates are 0")
        if self.stage1 is None and self.projector_weights is None and self.init is None:
            raise ValueError("stage2 needs a projector: add stage1, projector_weights or init")
        if self.warm_start and self.stage1 is None:
            raise ValueError("warm_start comes before stage1, which is missing; add or drop one")
        if self.parallel == "fsdp" and any(stage.quantize for stage in self.stages.values()):
            raise ValueError(
                'parallel = "fsdp" cannot shard a quantized language model; change one of them'
            )
        eight_bit = any(stage.optimizer == "adamw_8bit" for stage in self.stages.values())
        if self.parallel == "fsdp" and eight_bit:
            raise ValueError('adamw_8bit does not work with parallel = "fsdp"; change one of them')
        if self.image_mode and self.image_grid_pinpoints:
            raise ValueError(
                "image_mode says how one view is cut, but image_grid_pinpoints cuts tiles; drop one"
            )
        if self.feature_cache < 0:
            raise ValueError(f"feature_cache is {self.feature_cache}, not 0 or more")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}, not in 0..{2**32 - 1}")
        if not self.image_token.strip():
            raise ValueError('image_token is empty; the usual one is "<image>"')
        _at_least_one(max_tokens=self.max_tokens)

    @property
    def stages(self) -> dict[str, Stage]:
        """The stages that are there, by name, in order."""
        named = {"stage1": self.stage1, "stage2": self.stage2}
        return {name: stage for name, stage in named.items() if stage}

    @property
    def models(self) -> tuple[str, ...]:
        """The folders and names of all models that the recipe begins with."""
        return self.init.models if self.init else (self.vision_tower, self.language_model)

    @property
    def prompt_format(self) -> PromptConfig:
        """The format of a recipe without `init`, or what it says over its `init`'s own."""
        return PROMPTS[self.prompt or USUAL_PROMPT]

    def sharded(self, devices: int) -> bool:
        """Whether each of so many devices holds a part of the model."""
        return self.parallel == "fsdp" and devices > 1

    @property
    def data(self) -> list[RecordSource]:
        """All records and pictures that the recipe names."""
        sources = list(self.warm_start.data) if self.warm_start else []
        for stage in self.stages.values():
            sources += [*stage.data, *stage.evaluation]
        return sources

    @property
    def missing(self) -> list[Path]:
        """Files and folders that the recipe reads and that do not exist; the hub is not asked."""
        files = [path for source in self.data for path in (*source.records, source.images)]
        files += [self.projector_weights] if self.projector_weights else []
        for model in self.models:
            if self.init is None and (Path(model).exists() or not is_hub_name(model)):
                files.append(Path(model) / "config.json")
            elif not is_hub_name(model):  # an adapter's has no config.json, and a base is a file
                files.append(Path(model))
        found = [file for path in dict.fromkeys(files) for file in expand(path)]
        return [file for file in found if not file.exists()]


def load_recipe(recipe: Path | str, overrides: Iterable[str] = ()) -> Recipe:
    """Read and check a recipe: a TOML file or a shipped name, with `key=value` set over it.

    Raises TrainingError for an unknown or missing key, a value of a wrong type, or values that
    contradict each other. What the recipe names need not exist yet.
    """
    file = find_recipe(recipe)
    try:
        return parse(Recipe, read_recipe(file, overrides))
    except OSError as error:
        raise TrainingError(
            f"The recipe {file} cannot be read ({error.strerror}); name a TOML file."
        ) from error
    except ValueError as error:  # of TOML itself, or of what it says
        raise TrainingError(f"The recipe {recipe} is wrong: {error}; correct it.") from error


def require_files(recipe: Recipe) -> None:
    """Raise TrainingError where a file or folder that the recipe reads does not exist."""
    if missing := recipe.missing:
        raise TrainingError(
            f"The recipe names {missing[0]}, which does not exist; make it or correct the recipe."
        )


def _at_least_one(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} is {number}, not 1 or more")
