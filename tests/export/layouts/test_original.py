"""What the original LLaVA leaves in its checkpoints, stores in part, or brings as an adapter."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from sessions import EXACT
from tiny import Tiny, tokenizer
from tiny_adapters import learn, logits
from tiny_original import (
    TOWER,
    language_tensors,
    original_config,
    projector_tensors,
    write_original,
    write_parts,
)
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from llava_edge.errors import CheckpointError
from llava_edge.export.export import Check, export
from llava_edge.export.layouts.checkpoint import open_checkpoint
from llava_edge.export.reference import Reference

IDS = [7, 30, 31, 100, 9, 280]
TUNED = "encoder.layers.1.mlp.fc1.bias"


def test_left_overs_that_nothing_is_computed_with(tmp_path: Path) -> None:
    model = write_parts(tmp_path)
    left_over = {
        "model.image_newline": torch.ones(96),
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(16),
        "model.layers.0.self_attn.rotary_emb.cos_cached": torch.ones(1, 1, 256, 32),
        f"{TOWER}embeddings.position_ids": torch.arange(37)[None],
        "model.vision_tower.vision_tower.text_model.final_layer_norm.weight": torch.ones(8),
        "model.vision_tower.vision_tower.logit_scale": torch.ones(()),
    }
    folder = write_original(tmp_path, model, left_over, image_aspect_ratio="pad")
    opened, plain = open_checkpoint(folder), open_checkpoint(tmp_path / "hf")
    assert opened.tensors.keys() == plain.tensors.keys()
    assert opened.image.mode == "pad"
    export(folder, tmp_path / "bundle", precision=EXACT, check=Check(wanted=True))


def test_tiles_need_the_newline_and_what_is_unknown_is_refused(tmp_path: Path) -> None:
    model = write_parts(tmp_path, Tiny(image_size=30))
    tiles = {"image_aspect_ratio": "anyres", "mm_patch_merge_type": "spatial_unpad"}
    pinpoints = [[30, 60], [60, 30]]
    folder = write_original(tmp_path, model, **tiles, image_grid_pinpoints=pinpoints)
    with pytest.raises(CheckpointError, match="lacks image_newline"):
        open_checkpoint(folder)
    config = original_config(tmp_path)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = language_tensors(model) | projector_tensors(model)
    tensors["model.layers.0.self_attn.q_proj.bias"] = torch.ones(192)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"unknown language_model\.layers\.0.*q_proj\.bias"):
        open_checkpoint(folder)


def test_a_tower_stored_in_part_is_laid_over_the_named_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = write_parts(tmp_path)
    tuned = torch.full((72,), 0.25)
    folder = write_original(tmp_path, model, {TOWER + TUNED: tuned})
    with caplog.at_level("INFO"):
        found = open_checkpoint(folder).tensors
    assert "holds 1 of the 37 tensors of its vision tower; the others are those" in caplog.text
    for name, tensor in open_checkpoint(tmp_path / "hf").tensors.items():
        expected = tuned if name == f"vision_tower.{TUNED}" else tensor.read()
        np.testing.assert_array_equal(found[name].read(), expected, err_msg=name)


def write_lora(folder: Path, rows: int | None, tied: bool = False) -> Any:
    """As the original trains one: peft over the language model, the projector beside it."""
    model = write_parts(folder, Tiny(tied=tied))
    base = folder / "vicuna"
    language = LlamaForCausalLM(model.config.text_config)
    language.load_state_dict(language_tensors(model))
    language.save_pretrained(base)
    tokenizer().save(str(base / "tokenizer.json"))
    lora = folder / "lora"
    with warnings.catch_warnings(action="ignore"):
        language = AutoModelForCausalLM.from_pretrained(base)
        if rows is not None:
            language.resize_token_embeddings(rows, mean_resizing=False)
        config = LoraConfig(r=3, lora_alpha=7, target_modules=["q_proj", "down_proj"])
        adapted = get_peft_model(language, config).eval()
        learn(adapted)
        adapted.save_pretrained(lora)
    beside = {f"base_model.model.{n}": t for n, t in projector_tensors(model).items()}
    torch.save(beside, lora / "non_lora_trainables.bin")
    (lora / "config.json").write_text(json.dumps(original_config(folder)))
    return adapted


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("rows", [None, 300])
def test_an_adapter_of_the_original(tmp_path: Path, rows: int | None, tied: bool) -> None:
    adapted = write_lora(tmp_path, rows, tied)
    own = tokenizer()
    own.add_tokens(["<own>"])
    own.save(str(tmp_path / "lora" / "tokenizer.json"))
    checkpoint = open_checkpoint(tmp_path / "lora")
    assert checkpoint.tokenizer_from == tmp_path / "lora"
    assert checkpoint.config.text.vocab_size == (rows or 293)
    assert checkpoint.config.text.tied == tied
    for judging in (False, True):
        reference = Reference(checkpoint, judging=judging)
        found = reference.score(reference.embed(IDS), range(len(IDS)))
        np.testing.assert_allclose(found, logits(adapted, IDS), atol=1e-4)


def test_the_base_lends_its_tokenizer(tmp_path: Path) -> None:
    write_lora(tmp_path, None)
    assert open_checkpoint(tmp_path / "lora").tokenizer_from == tmp_path / "vicuna"
