"""Every form of a checkpoint yields the tensors that transformers has in memory."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny import Tiny
from torch import Tensor, nn

from llava_edge.errors import CheckpointError, UsageError
from llava_edge.export.layouts.checkpoint import Checkpoint, open_checkpoint
from llava_edge.export.layouts.tensor_names import canonical


def in_memory(model: nn.Module) -> dict[str, Tensor]:
    return {canonical(name): tensor for name, tensor in model.state_dict().items()}


def assert_same(checkpoint: Checkpoint, model: nn.Module, atol: float = 0) -> None:
    expected = in_memory(model)
    for name, tensor in checkpoint.tensors.items():
        read = tensor.read()
        assert read.shape == tensor.shape == tuple(expected[name].shape), name
        np.testing.assert_allclose(
            read.astype(np.float32), expected[name].float().numpy(), atol=atol, err_msg=name
        )


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_tensors(folder: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    "options",
    [
        Tiny(),
        Tiny(spelling="vision_model", dtype=torch.float16),
        Tiny(spelling="in_memory", dtype=torch.bfloat16, projector_bias=False),
        Tiny(spelling="in_memory", max_shard_size="100KB"),
        Tiny(tied=True, attention_bias=True, mlp_bias=True),
        Tiny(projector="linear", feature_layer=(-3, -1), select="full"),
        Tiny(tower="efficientnet_lite"),
    ],
    ids=lambda options: f"{options.tower}-{options.spelling}-{options.projector}",
)
def test_reads_what_transformers_has_in_memory(tmp_path: Path, options: Tiny) -> None:
    model = tiny.write_llava(tmp_path, options)
    checkpoint = open_checkpoint(tmp_path)
    assert_same(checkpoint, model)
    left_out = in_memory(model).keys() - checkpoint.tensors.keys()
    unneeded = ("num_batches_tracked", "post_layernorm", "encoder.layers.2.", "lm_head")
    assert all(any(part in name for part in unneeded) for name in left_out)
    assert ("lm_head.weight" in left_out) == options.tied == checkpoint.config.text.tied


def test_only_the_layers_below_the_chosen_one_are_asked_for(tmp_path: Path) -> None:
    tiny.write_llava(tmp_path)
    edit_tensors(
        tmp_path,
        lambda tensors: [tensors.pop(n) for n in list(tensors) if "encoder.layers.2." in n],
    )
    assert not any("layers.2." in name for name in open_checkpoint(tmp_path).tensors)
    edit_config(tmp_path, vision_feature_layer=-1)
    with pytest.raises(CheckpointError, match=r"lacks vision_tower\.encoder\.layers\.2"):
        open_checkpoint(tmp_path)


def test_every_wrong_tensor_is_listed(tmp_path: Path) -> None:
    tiny.write_llava(tmp_path)

    def spoil(tensors: dict[str, Tensor]) -> None:
        del tensors["multi_modal_projector.linear_1.bias"]
        tensors["language_model.model.norm.weight"] = torch.zeros(7)
        tensors["vision_tower.something"] = torch.zeros(1)

    edit_tensors(tmp_path, spoil)
    with pytest.raises(CheckpointError) as error:
        open_checkpoint(tmp_path)
    assert "lacks multi_modal_projector.linear_1.bias;" in str(error.value)
    assert "language_model.norm.weight [7] instead of [96]" in str(error.value)
    assert "has the unknown vision_tower.something;" in str(error.value)


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    tiny.write_llava(tmp_path)
    many = {f"x.{i}": torch.ones(1) for i in range(13)}
    edit_tensors(tmp_path, lambda tensors: tensors.update(many))
    with pytest.raises(CheckpointError, match=r"x\.\d+ and 3 more;"):
        open_checkpoint(tmp_path)


def test_buffers_of_older_releases_are_tolerated(tmp_path: Path) -> None:
    tiny.write_llava(tmp_path, Tiny(spelling="vision_model"))

    def add(tensors: dict[str, Tensor]) -> None:
        tensors["vision_tower.vision_model.embeddings.position_ids"] = torch.arange(37)[None]
        tensors["language_model.model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(16)

    edit_tensors(tmp_path, add)
    assert not any("position_ids" in name for name in open_checkpoint(tmp_path).tensors)


def test_a_head_in_the_file_counts_although_config_says_tied(tmp_path: Path) -> None:
    tiny.write_llava(tmp_path)
    edit_config(tmp_path, tie_word_embeddings=True)
    checkpoint = open_checkpoint(tmp_path)
    assert not checkpoint.config.text.tied
    assert "lm_head.weight" in checkpoint.tensors


def test_a_tensor_under_two_spellings_is_refused(tmp_path: Path) -> None:
    tiny.write_llava(tmp_path)
    edit_tensors(tmp_path, lambda tensors: tensors.update({"lm_head.weight": torch.ones(1)}))
    with pytest.raises(CheckpointError, match=r"lm_head\.weight twice"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("tower", ["clip", "efficientnet_lite"])
@pytest.mark.parametrize("tied", [True, False])
def test_base_and_adapter_are_merged(tmp_path: Path, tower: str, tied: bool) -> None:
    base = tmp_path / "tiny.gguf"
    options = Tiny(tower="efficientnet_lite" if tower != "clip" else "clip", tied=tied)
    model = tiny.write_demo(tmp_path / "demo", base, options)
    checkpoint = open_checkpoint(tmp_path / "demo", base=base)
    assert_same(checkpoint, model, atol=1e-6)
    assert checkpoint.provenance["base"] == "tiny-base"
    text = "<|im_start|>user\nThere are 12 cats<|im_end|>"
    assert checkpoint.tokenizer.token_to_id("<|im_end|>") in checkpoint.tokenizer.encode(text).ids


@pytest.mark.parametrize("spelling", ["new", "vision_model"])
def test_a_peft_adapter_over_a_whole_llava(tmp_path: Path, spelling: Any) -> None:
    """As peft writes it, with ranks of its own for some layers and a projector trained in full."""
    base = tmp_path / "base"
    base.mkdir()
    model = tiny.write_llava(base, Tiny(spelling=spelling))
    lora = LoraConfig(
        r=4,
        lora_alpha=10,
        target_modules=r".*language_model.*\.(q_proj|down_proj)",
        rank_pattern={"down_proj": 3},
        alpha_pattern={"down_proj": 5},
        modules_to_save=["multi_modal_projector"],
    )
    with warnings.catch_warnings(action="ignore"):  # of peft's making
        adapted = get_peft_model(model, lora)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.normal_(std=0.2)
    with warnings.catch_warnings(action="ignore"):
        adapted.save_pretrained(tmp_path / "adapter")
    edit_adapter = tmp_path / "adapter" / "adapter_config.json"
    content = json.loads(edit_adapter.read_text())
    edit_adapter.write_text(json.dumps({**content, "base_model_name_or_path": str(base)}))
    checkpoint = open_checkpoint(tmp_path / "adapter")
    assert checkpoint.name == "adapter"
    assert_same(checkpoint, adapted.merge_and_unload(), atol=1e-6)


def test_the_base_must_be_the_one_named(tmp_path: Path) -> None:
    base = tmp_path / "tiny.gguf"
    tiny.write_demo(tmp_path / "demo", base, Tiny())
    with pytest.raises(CheckpointError, match=r"tiny\.gguf with --base"):
        open_checkpoint(tmp_path / "demo")
    with pytest.raises(CheckpointError, match=r"There is no folder .* with --base"):
        open_checkpoint(tmp_path / "demo", base=tmp_path / "nowhere.gguf")
    base.write_bytes(base.read_bytes() + b"\0")
    with pytest.raises(CheckpointError, match="sha256"):
        open_checkpoint(tmp_path / "demo", base=base)


def test_a_base_must_be_as_the_config_says(tmp_path: Path) -> None:
    base = tmp_path / "tiny.gguf"
    tiny.write_demo(tmp_path / "demo", base, Tiny())
    text = json.loads((tmp_path / "demo" / "config.json").read_text())["text_config"]
    edit_config(tmp_path / "demo", text_config={**text, "num_key_value_heads": 3})
    with pytest.raises(CheckpointError, match="num_kv_heads 2 instead of 3"):
        open_checkpoint(tmp_path / "demo", base=base)


def test_a_base_that_is_not_needed_is_refused(tmp_path: Path) -> None:
    tiny.write_llava(tmp_path)
    with pytest.raises(UsageError, match="leave the base out"):
        open_checkpoint(tmp_path, base=tmp_path)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no folder"):
        open_checkpoint(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        open_checkpoint(tmp_path)
