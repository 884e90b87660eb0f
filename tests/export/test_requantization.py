"""Quantized weights that a bundle cannot keep are quantized anew where --requantize says so."""

from pathlib import Path

import numpy as np
import pytest
import torch
from quantized_checkpoints import write_fp8, write_gptq
from safetensors.torch import load_file, save_file
from tiny import Tiny, write_llava

from llava_edge.errors import CheckpointError, UsageError
from llava_edge.export.export import export
from llava_edge.export.layouts.checkpoint import open_checkpoint
from llava_edge.export.quantization.precision import Precision
from llava_edge.export.requantization import requantized


@pytest.fixture(scope="module")
def scattered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPTQ checkpoint with desc_act, one of whose layers is out of order."""
    folder = tmp_path_factory.mktemp("scattered")
    write_gptq(folder, desc_act=True)
    path, name = folder / "model.safetensors", "language_model.model.layers.0.mlp.down_proj.g_idx"
    order = torch.arange(160, dtype=torch.int32).flip(0) // 32
    save_file({**load_file(path), name: order}, path)
    return folder


def test_what_cannot_be_kept_is_refused_with_the_way_out(scattered: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"1 matrices of .* scattered .* give --requantize"):
        export(scattered, tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_it_is_quantized_anew_where_that_is_asked(scattered: Path, tmp_path: Path) -> None:
    precision = Precision("rtn", block_size=16)
    config = export(scattered, tmp_path / "bundle", requantize=True, precision=precision)
    assert (config.quantization.method, config.quantization.block_size) == ("rtn", 16)
    assert config.provenance["requantized_from"] == "gptq"


def test_what_could_be_kept_too(tmp_path: Path) -> None:
    write_gptq(tmp_path / "checkpoint")
    kept = open_checkpoint(tmp_path / "checkpoint")
    anew = requantized(kept)
    assert (kept.kept, anew.kept, anew.method) == ("gptq", None, "gptq")
    name = "language_model.layers.0.mlp.down_proj.weight"
    assert anew.tensors[name].blocks is None
    np.testing.assert_array_equal(anew.tensors[name].read(), kept.tensors[name].read())
    config = export(tmp_path / "checkpoint", tmp_path / "bundle", requantize=True, mixed_share=0.5)
    assert config.quantization.method == "kquant"
    assert config.quantization.eight_bit_layers


def test_floats_of_8_bits_become_what_16_bits_become(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    write_llava(tmp_path / "source", Tiny(dtype=torch.bfloat16))
    write_fp8(tmp_path / "source", tmp_path / "fp8", 16, 32)
    with pytest.raises(CheckpointError, match=r"14 matrices of .* as 8-bit floats"):
        export(tmp_path / "fp8", tmp_path / "bundle")
    config = export(tmp_path / "fp8", tmp_path / "bundle", requantize=True)
    assert (config.quantization.method, config.quantization.bits) == ("kquant", 4)


def test_weights_that_were_never_quantized(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no quantized weights that would be kept; leave it out"):
        export(tiny_checkpoint, tmp_path / "bundle", requantize=True)
