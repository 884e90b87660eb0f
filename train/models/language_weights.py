"""A LLaVA's language model, alone, as transformers' causal models take it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PretrainedConfig

from llava_edge.core.strict import Section
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.layouts.base_model import open_language_model, text_section
from llava_edge.export.layouts.text_config import TextConfig
from llava_edge.export.reference_config import text_config

_TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


@dataclass(frozen=True)
class LanguageWeights:
    """A configuration, and tensors under the names that transformers' class of it has."""

    name: str
    config: PretrainedConfig
    state: dict[str, Tensor]


def weights_of_llava(folder: Path, dtype: torch.dtype) -> LanguageWeights | None:
    """Read a LLaVA's folder; None for a folder that is no LLaVA's. Raises CheckpointError."""
    if not _is_llava(folder):
        return None
    language = open_language_model(folder)
    file = Section.from_file(folder / "config.json")
    return language_weights(str(folder), language.text, file, language.tensors, dtype)


def language_weights(
    name: str,
    text: TextConfig,
    file: Section,
    tensors: Mapping[str, LazyTensor],
    dtype: torch.dtype,
) -> LanguageWeights:
    """Read the language model's among a LLaVA's tensors; `file` is the LLaVA's config.json."""
    state = read_tensors(tensors, "language_model.", dtype)
    state = {f"model.{name}": tensor for name, tensor in state.items()}
    if not text.tied:
        state["lm_head.weight"] = read_tensors(tensors, "lm_head.", dtype)["weight"]
    return LanguageWeights(name, language_config(text, file), state)


def language_config(text: TextConfig, file: Section) -> PretrainedConfig:
    """The language model's configuration, with the special tokens' ids that the file gives."""
    config: PretrainedConfig = text_config(text)
    set_token_ids(config, type(config)().to_dict())  # what a file leaves out
    set_token_ids(config, text_section(file).values)
    return config


def set_token_ids(config: PretrainedConfig, values: Mapping[str, object]) -> None:
    """Set the ids of special tokens that the values of a config.json give."""
    for key in _TOKEN_IDS:
        if key in values:
            setattr(config, key, values[key])


def read_tensors(
    tensors: Mapping[str, LazyTensor], prefix: str, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Read those whose names begin with the prefix, which is left out."""
    return {
        name.removeprefix(prefix): torch.from_numpy(tensor.read().astype(np.float32)).to(dtype)
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _is_llava(folder: Path) -> bool:
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return str(values["model_type"]).startswith("llava")
    except (OSError, ValueError, LookupError, TypeError):  # which transformers explains
        return False
