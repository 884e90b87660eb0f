"""Tiny checkpoints as training writes them, with the models that are in them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_learner import CLIP, TEXT, TOWER, adapt, inputs, write_parts
from torch import Tensor
from transformers import (
    Dinov2Config,
    Dinov2WithRegistersConfig,
    GPTNeoXConfig,
    LlamaConfig,
    Phi3Config,
    Qwen3Config,
    SiglipVisionConfig,
)

from llava_edge.train.checkpoints import save
from llava_edge.train.checkpoints.merge import merge
from llava_edge.train.checkpoints.save import save_adapter, save_checkpoint
from llava_edge.train.models.learner import Learner, build

FULL = {"vision_feature_select_strategy": "full"}
SIGLIP = SiglipVisionConfig(**TOWER)
DINO = {key: value for key, value in TOWER.items() if key != "intermediate_size"}
LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 20000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 30000.0,
    "short_factor": [1.0] * 8,
    "long_factor": [2.0] * 8,
}
KINDS: dict[str, Callable[[], tuple[Any, Any, dict[str, Any]]]] = {
    "clip-llama": lambda: (CLIP, LlamaConfig(**TEXT, rope_parameters=LLAMA_3), {}),
    "clip-tied": lambda: (CLIP, LlamaConfig(**TEXT, tie_word_embeddings=True), {}),
    "siglip-qwen3-tied": lambda: (
        SIGLIP,
        Qwen3Config(**TEXT, head_dim=24, tie_word_embeddings=True),
        FULL,
    ),
    "siglip-phi3": lambda: (
        SIGLIP,
        Phi3Config(**TEXT, rope_parameters=LONGROPE, original_max_position_embeddings=64),
        FULL,
    ),
    "dinov2-neox": lambda: (
        Dinov2Config(**DINO, mlp_ratio=2),
        GPTNeoXConfig(**TEXT, rotary_emb_base=7000, rotary_pct=0.5),
        {},
    ),
    "registers-neox-tied": lambda: (
        Dinov2WithRegistersConfig(**DINO, mlp_ratio=2, num_register_tokens=3),
        GPTNeoXConfig(**TEXT, tie_word_embeddings=True),
        {"image_token": "<picture>"},  # not in the vocabulary
    ),
}
SHARDED = "siglip-qwen3-tied"
MERGED = ("clip-llama", "clip-tied")
NAMES = (*KINDS, *(f"{name}-merged" for name in MERGED))


@dataclass(frozen=True)
class Saved:
    """A checkpoint, what is in it, and a prompt with a picture."""

    folder: Path
    learner: Learner
    batch: dict[str, Tensor]


def write_checkpoints(root: Path) -> dict[str, Saved]:
    """A checkpoint of each kind as stage 1 writes it, and of some as an adapter is merged."""
    found = {}
    for name, kind in KINDS.items():
        folder = root / name
        folder.mkdir()
        vision, text, changes = kind()
        recipe = write_parts(folder, vision, text, **changes)
        learner = build(recipe)
        with pytest.MonkeyPatch.context() as patch:
            if name == SHARDED:
                patch.setattr(save, "SHARD", "200KB")
            save_checkpoint(learner, recipe, folder / "checkpoint", projector_file=True)
        found[name] = Saved(folder, learner, inputs(learner))
        if name in MERGED:
            learner = build(recipe)
            adapt(learner)
            save_adapter(learner, recipe, folder / "adapter")
            merge(folder / "adapter", folder / "merged" / "checkpoint")
            found[name + "-merged"] = Saved(folder / "merged", learner, inputs(learner))
    return found


def logits(model: Any, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        result: Tensor = model.eval()(**batch).logits
    return result
