"""Checkpoints that training writes load in transformers 4.57 and 5, with the same logits."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from places import ROOT, SUPPORT
from tiny_learner import CLIP, TEXT, TOWER, adapt, inputs, write_parts
from torch import Tensor
from transformers import (
    Dinov2Config,
    Dinov2WithRegistersConfig,
    GPTNeoXConfig,
    LlamaConfig,
    LlavaForConditionalGeneration,
    Phi3Config,
    Qwen3Config,
    SiglipVisionConfig,
)

from llava_edge.train.checkpoints import save
from llava_edge.train.checkpoints.merge import merge
from llava_edge.train.checkpoints.save import save_adapter, save_checkpoint
from llava_edge.train.models.learner import Learner, build

OTHER = ROOT / "build" / "transformers-4.57"
SCRIPT = SUPPORT / "load_with_other_transformers.py"
needs_other = pytest.mark.skipif(
    not OTHER.exists(), reason="transformers 4.57 is not there; `make test` installs it"
)
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft's making

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


@dataclass(frozen=True)
class Saved:
    """A checkpoint, what is in it, and a prompt with a picture."""

    folder: Path
    learner: Learner
    batch: dict[str, Tensor]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Saved]:
    """A checkpoint of each kind as stage 1 writes it, and of some as an adapter is merged."""
    found = {}
    for name, kind in KINDS.items():
        folder = tmp_path_factory.mktemp(name)
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


@pytest.fixture(scope="module")
def in_4_57(saved: dict[str, Saved]) -> dict[str, dict[str, Any]]:
    """What transformers 4.57 makes of these checkpoints."""
    folders = [case.folder for case in saved.values()]
    for case in saved.values():
        arrays = {name: tensor.numpy() for name, tensor in case.batch.items()}
        np.savez(case.folder / "inputs.npz", **arrays)
    done = subprocess.run(
        [sys.executable, SCRIPT, *folders],
        env={**os.environ, "PYTHONPATH": str(OTHER)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {name: json.loads((c.folder / "out.json").read_text()) for name, c in saved.items()}


def logits(model: Any, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        result: Tensor = model.eval()(**batch).logits
    return result


@pytest.mark.parametrize("name", [*KINDS, *(f"{name}-merged" for name in MERGED)])
def test_this_transformers_finds_every_tensor(name: str, saved: dict[str, Saved]) -> None:
    case = saved[name]
    model, report = LlavaForConditionalGeneration.from_pretrained(
        case.folder / "checkpoint", output_loading_info=True, dtype=torch.float32
    )
    assert not any(report.values()), report
    ours = logits(case.learner.model, case.batch)
    torch.testing.assert_close(logits(model, case.batch), ours, atol=1e-4, rtol=1e-4)
    text, read = case.learner.model.config.text_config, model.config.text_config
    assert {**read.rope_parameters, "type": None} == {**text.rope_parameters, "type": None}


def test_one_was_written_in_shards(saved: dict[str, Saved]) -> None:
    assert len(list((saved[SHARDED].folder / "checkpoint").glob("model-*.safetensors"))) > 2


@needs_other
@pytest.mark.parametrize("name", [*KINDS, *(f"{name}-merged" for name in MERGED)])
def test_transformers_4_57_finds_every_tensor(
    name: str, saved: dict[str, Saved], in_4_57: dict[str, dict[str, Any]]
) -> None:
    case, found = saved[name], in_4_57[name]
    assert found["version"].startswith("4.57")
    assert not any(found["report"].values()), found["report"]
    ours = logits(case.learner.model, case.batch)
    torch.testing.assert_close(torch.tensor(found["logits"]), ours, atol=1e-4, rtol=1e-4)
