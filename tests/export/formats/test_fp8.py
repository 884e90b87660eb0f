"""transformers dequantizes its 8-bit floats to the same numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from quantized_checkpoints import describe, write_fp8
from safetensors.torch import load_file, save_file
from tiny import Tiny, write_llava
from transformers import LlavaForConditionalGeneration

from llava_edge.errors import CheckpointError
from llava_edge.export.layouts.checkpoint import open_checkpoint

OURS = "language_model.layers.0.mlp.down_proj.weight"
LAYER = "language_model.model.layers.0.mlp.down_proj"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    write_llava(folder, Tiny(dtype=torch.bfloat16))
    return folder


def test_every_layer_is_what_transformers_makes_of_it(source: Path, tmp_path: Path) -> None:
    write_fp8(source, tmp_path / "fp8", 16, 32)
    opened = open_checkpoint(tmp_path / "fp8")
    assert opened.method == "fp8"
    judge = LlavaForConditionalGeneration.from_pretrained(tmp_path / "fp8", dtype=torch.float32)
    expected = judge.state_dict()
    layers = [name for name, tensor in opened.tensors.items() if tensor.unkept]
    assert len(layers) == 14
    for name in layers:
        np.testing.assert_array_equal(opened.tensors[name].read(), expected[f"model.{name}"])


def test_squares_that_reach_over_the_edge(source: Path, tmp_path: Path) -> None:
    """As the last ones of matrices whose sizes are no multiple of 128."""
    write_fp8(source, tmp_path / "fp8", 16, 32)
    path = tmp_path / "fp8" / "model.safetensors"
    tensors = {
        key: tensor.float() if tensor.dtype == torch.float8_e4m3fn else tensor
        for key, tensor in load_file(path).items()
        if not key.endswith("scale_inv")
    }
    weight = tensors[f"{LAYER}.weight"].to(torch.float8_e4m3fn)  # [96, 160]
    scales = torch.rand(2, 3) + 0.5
    tensors |= {f"{LAYER}.weight": weight, f"{LAYER}.weight_scale_inv": scales}
    save_file(tensors, path)
    describe(tmp_path / "fp8", {"quant_method": "fp8", "weight_block_size": [64, 64]})
    spread = scales.repeat_interleave(64, 0)[:96].repeat_interleave(64, 1)[:, :160]
    found = open_checkpoint(tmp_path / "fp8").tensors[OURS].read()
    np.testing.assert_array_equal(found, weight.float() * spread)


@pytest.mark.parametrize("name", ["weight_scale", "weight_scale_inv"])
def test_one_scale_for_the_whole(source: Path, tmp_path: Path, name: str) -> None:
    write_fp8(source, tmp_path / "fp8", 16, 32)
    path = tmp_path / "fp8" / "model.safetensors"
    tensors = load_file(path)
    del tensors[f"{LAYER}.weight_scale_inv"]
    save_file({**tensors, f"{LAYER}.{name}": torch.tensor(0.5)}, path)
    found = open_checkpoint(tmp_path / "fp8").tensors[
        "language_model.layers.0.mlp.down_proj.weight"
    ]
    np.testing.assert_array_equal(found.read(), tensors[f"{LAYER}.weight"].float() / 2)


def test_floats_without_scales_are_refused(source: Path, tmp_path: Path) -> None:
    write_fp8(source, tmp_path / "fp8", 16, 32)
    path = tmp_path / "fp8" / "model.safetensors"
    tensors = load_file(path)
    del tensors[f"{LAYER}.weight_scale_inv"]
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match="as F8_E4M3 without what fp8 needs"):
        open_checkpoint(tmp_path / "fp8")
