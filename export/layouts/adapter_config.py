"""What the adapter_config.json of a peft adapter says, read strictly: what is unknown is refused.

The names are those of LoraConfig in peft 0.21.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError

FILE = "adapter_config.json"
SAVED = "modules_to_save"
EMBEDDING = "embed_tokens"  # the table that a bare list of trainable tokens means
Residual = Literal["svd", "qr"]

_READ = (
    "peft_type",
    "base_model_name_or_path",
    "revision",
    "r",
    "lora_alpha",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "init_lora_weights",
    "use_dora",
    SAVED,
    "trainable_token_indices",
    "ensure_weight_tying",
)
_OF_TRAINING = (  # where the matrices lie and how they were trained; the file holds what came of it
    "auto_mapping",
    "bias",
    "corda_config",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",  # of use_qalora alone
    "runtime_config",
    "target_modules",
    "task_type",
)
_ADDED_TO_THE_BASE = ("gaussian", "eva", "orthogonal", "mica")
_TAKEN_FROM_THE_BASE: Mapping[str, Residual] = {"pissa": "svd", "olora": "qr"}
_LOST = ("pissa_niter", "corda", "lora_ga", "loftq")  # random, or made of data that are not here

_MERGE_IT = "merge the adapter where it was trained (merge_and_unload) and give the merged folder"


@dataclass(frozen=True)
class AdapterConfig:
    """An adapter's settings.

    `residual` says which part of a layer's weight its matrices began with and the base lost:
    "svd" the greatest singular values (PiSSA, arXiv 2404.02948), "qr" the first columns' span
    (OLoRA, arXiv 2406.01775). `token_indices` are the trained rows by the name of their table.
    """

    residual: Residual | None
    dora: bool
    saved_modules: tuple[str, ...]  # trained in full, apart from the base's
    token_indices: Mapping[str, tuple[int, ...]]
    stays_tied: bool  # head and embedding table changed alike
    section: Section

    def rank(self, module: str) -> int:
        """Rows of A, which a module may have of its own."""
        pattern = self._pattern("rank_pattern", module)
        return self.section.integer("r") if pattern is None else pattern.integer("value")

    def scale(self, module: str) -> float:
        """What B @ A is multiplied by: alpha / rank, or with rslora alpha / sqrt(rank)."""
        pattern, rank = self._pattern("alpha_pattern", module), self.rank(module)
        alpha = self.section.number("lora_alpha") if pattern is None else pattern.number("value")
        return alpha / (math.sqrt(rank) if self.section.flag("use_rslora", False) else rank)

    def is_saved(self, module: str) -> bool:
        """Whether the module is, or is in, one of `saved_modules`, which may be a name's end."""
        return any(f"{name}." in f"{module}." for name in self.saved_modules)

    def ids(self, module: str) -> tuple[int, ...]:
        """Which rows of a table were trained."""
        return next((ids for name, ids in self.token_indices.items() if module.endswith(name)), ())

    def _pattern(self, key: str, module: str) -> Section | None:
        """The entry of a peft pattern that the module's name ends with."""
        if not self.section.has(key):
            return None
        for pattern, value in self.section.section(key).values.items():
            if re.fullmatch(rf"(.*\.)?({pattern})", module):
                return Section({"value": value}, f"{key} in {self.section.where}")
        return None


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Raises CheckpointError where the adapter is not LoRA, or asks for what is not known."""
    section = Section.from_file(folder / FILE)
    kind = section.text("peft_type", "LORA")
    if kind != "LORA":
        raise CheckpointError(
            f'{section.where} gives "{kind}" as peft_type, but "LORA" is what export supports; '
            f"{_MERGE_IT}."
        )
    for setting, value in section.values.items():
        if value and setting not in (*_READ, *_OF_TRAINING):
            raise CheckpointError(
                f"{section.where} sets {setting}, which export does not support; {_MERGE_IT}."
            )
    return AdapterConfig(
        residual=_residual(section),
        dora=section.flag("use_dora", False),
        saved_modules=tuple(section.strings(SAVED)) if section.has(SAVED) else (),
        token_indices=_token_indices(section),
        stays_tied=section.flag("ensure_weight_tying", False),
        section=section,
    )


def _residual(section: Section) -> Residual | None:
    init = section.values.get("init_lora_weights")
    if init is None or isinstance(init, bool):
        return None
    kind = str(init).lower()
    if kind in _TAKEN_FROM_THE_BASE or kind in _ADDED_TO_THE_BASE:
        return _TAKEN_FROM_THE_BASE.get(kind)
    if kind.startswith(_LOST):
        convert = "save it with path_initial_model_for_weight_conversion, or "
        raise CheckpointError(
            f'{section.where} gives "{init}" as init_lora_weights, which changes the base by what '
            f"the adapter does not hold; {'' if kind == 'loftq' else convert}{_MERGE_IT}."
        )
    known = ", ".join(("true", *_ADDED_TO_THE_BASE, *_TAKEN_FROM_THE_BASE))
    raise CheckpointError(
        f'{section.where} gives "{init}" as init_lora_weights, but {known} are what export '
        f"supports; {_MERGE_IT}."
    )


def _token_indices(section: Section) -> Mapping[str, tuple[int, ...]]:
    key = "trainable_token_indices"
    if not section.has(key):
        return {}
    if isinstance(section.values[key], list):
        return {EMBEDDING: section.integers(key)}
    tables = section.section(key)
    return {name: tables.integers(name) for name in tables.values}
