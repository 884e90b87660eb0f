"""Checkpoints that were quantized before: GPTQ and AWQ integers become blocks, bit for bit."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from decoder_judge import Judge, prompt_rows
from quantized_checkpoints import GPTQ, pack, write_gptq
from safetensors.torch import load_file, save_file
from sessions import Sessions
from tiny import Tiny

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError, UsageError
from llava_edge.export.export import export
from llava_edge.export.formats.awq import Awq
from llava_edge.export.formats.gptq import Gptq
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.formats.prequantized import read_packed_format, unpack
from llava_edge.export.layouts.checkpoint import open_checkpoint
from llava_edge.export.quantization.blocks import dequantize
from llava_edge.export.quantization.precision import Precision
from llava_edge.export.quantization.quantize import quantize

LLAMA = Tiny()
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm"}


def lazy(array: np.ndarray[Any, Any]) -> LazyTensor:
    return LazyTensor(array.shape, lambda: array)


@pytest.mark.parametrize(
    ("module", "packing", "lowest"),
    [
        ("qlinear_torch_zp", "auto_round:auto_gptq", 1),  # which cannot hold a zero point of 0
        ("qlinear_torch", "auto_round:gptqmodel", 0),
        ("qlinear_torch", "auto_round", 0),
    ],
)
@pytest.mark.parametrize("bits", [4, 8])
def test_what_auto_round_packed(module: str, packing: str, lowest: int, bits: int) -> None:
    extension = importlib.import_module(f"auto_round_extension.torch.{module}")
    random = torch.Generator().manual_seed(0)
    zeros = torch.randint(lowest, 2**bits, (64, 3), generator=random)
    scales = (torch.rand(64, 3, generator=random) + 0.1).half().float()
    integers = torch.randint(0, 2**bits, (64, 96), generator=random)
    linear = torch.nn.Linear(96, 64, bias=False)
    groups = (integers.view(64, 3, 32) - zeros[..., None]) * scales[..., None]
    linear.weight.data = groups.view(64, 96)
    layer = extension.QuantLinear(bits, 32, 96, 64, False)
    layer.device = linear.weight.device  # as its exporter says it
    layer.pack(linear, scales, zeros)
    config = {"quant_method": "auto-round", "packing_format": packing, "group_size": 32}
    section = Section({"quantization_config": config}, "config.json")
    packed = read_packed_format(Path(), section)
    assert packed is not None
    tensors = {f"layer.{name}": lazy(part.numpy()) for name, part in layer.state_dict().items()}
    weight = unpack(tensors, packed, Path())["layer.weight"]
    np.testing.assert_array_equal(weight.read(), linear.weight.detach().numpy())


@pytest.mark.parametrize(("version", "less"), [("gptq", 1), ("gptq_v2", 0)])
@pytest.mark.parametrize("tiny", [LLAMA, Tiny(decoder="qwen2")], ids=["llama", "qwen2"])
def test_a_quantized_llava_is_exported_as_it_is(
    tmp_path: Path, tiny: Tiny, version: str, less: int
) -> None:
    checkpoint = tmp_path / "checkpoint"
    model = write_gptq(checkpoint, tiny, less=less, checkpoint_format=version)
    config = export(checkpoint, tmp_path / "bundle")
    assert config.quantization.method == "gptq"
    assert (config.quantization.bits, config.quantization.head_bits) == (4, 8)
    judge = Judge(model)
    sessions = Sessions(tmp_path / "bundle", "gpu")  # whose activations are not rounded to 8 bits
    expected = judge.logits(config.vision.image_tokens)
    error = np.linalg.norm(sessions.logits(prompt_rows(sessions, judge)) - expected)
    assert error / np.linalg.norm(expected) < 0.01  # of the 8-bit head and embedding


def test_layers_of_different_formats_stand_side_by_side(tmp_path: Path) -> None:
    """As where a few layers were left unquantized: here a k_proj between its neighbours."""
    checkpoint = tmp_path / "checkpoint"
    model = write_gptq(checkpoint)
    name = "language_model.model.layers.0.self_attn.k_proj"
    tensors = load_file(checkpoint / "model.safetensors")
    tensors = {k: v for k, v in tensors.items() if not k.startswith(name)}
    tensors[f"{name}.weight"] = model.model.language_model.layers[0].self_attn.k_proj.weight.data
    save_file(tensors, checkpoint / "model.safetensors", {"format": "pt"})
    precision = Precision(symmetric=False)  # as those weights were quantized before
    config = export(checkpoint, tmp_path / "bundle", precision=precision)
    judge = Judge(model)
    sessions = Sessions(tmp_path / "bundle", "gpu")
    expected = judge.logits(config.vision.image_tokens)
    error = np.linalg.norm(sessions.logits(prompt_rows(sessions, judge)) - expected)
    assert error / np.linalg.norm(expected) < 0.01


def test_a_bias_of_zeros_that_nobody_asked_for_is_left_out(tmp_path: Path) -> None:
    """AutoGPTQ writes one for every layer of a Llama."""
    write_gptq(tmp_path)
    path = tmp_path / "model.safetensors"
    name = "language_model.model.layers.0.mlp.down_proj.bias"
    save_file({**load_file(path), name: torch.zeros(96)}, path)
    assert open_checkpoint(tmp_path).method == "gptq"
    save_file({**load_file(path), name: torch.ones(96)}, path)
    with pytest.raises(CheckpointError, match="has the unknown"):
        open_checkpoint(tmp_path)


def test_layers_of_other_bits_and_groups(tmp_path: Path) -> None:
    """A recipe may spare some layers; their shapes tell."""
    write_gptq(tmp_path)
    path = tmp_path / "model.safetensors"
    matrix = np.random.default_rng(0).normal(size=(96, 160)).astype(np.float32)
    blocks = quantize(matrix, 8, 16)
    stem = "language_model.model.layers.0.mlp.down_proj"
    parts = {f"{stem}.{part}": tensor for part, tensor in pack(blocks).items()}
    save_file({**load_file(path), **parts}, path, {"format": "pt"})
    config = export(tmp_path, tmp_path / "bundle")
    assert (config.quantization.bits, config.quantization.block_size) == (4, 32)
    assert config.quantization.eight_bit_layers == ("layers.0.mlp.down_proj",)
    weight = open_checkpoint(tmp_path).tensors["language_model.layers.0.mlp.down_proj.weight"]
    np.testing.assert_array_equal(weight.read(), dequantize(blocks))


def test_weights_under_autogptqs_name(tmp_path: Path) -> None:
    write_gptq(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "gptq_model-4bit-32g.safetensors")
    assert open_checkpoint(tmp_path).method == "gptq"


@pytest.mark.parametrize("tuning", [{"mixed_share": 0.2}, {"precision": Precision("calibrated")}])
def test_what_was_quantized_before_is_not_tuned(tmp_path: Path, tuning: dict[str, Any]) -> None:
    write_gptq(tmp_path / "checkpoint")
    with pytest.raises(UsageError, match=r"quantized already \(gptq\)"):
        export(tmp_path / "checkpoint", tmp_path / "bundle", **tuning)


def test_the_file_beside_config_json(tmp_path: Path) -> None:
    (tmp_path / "quantize_config.json").write_text('{"bits": 4, "group_size": -1}')
    silent = Section({}, "config.json")
    assert read_packed_format(tmp_path, silent) == Gptq(0, 1)
    (tmp_path / "quantize_config.json").unlink()
    assert read_packed_format(tmp_path, silent) is None
    (tmp_path / "quant_config.json").write_text(
        '{"w_bit": 4, "q_group_size": 64, "version": "GEMM"}'
    )
    assert read_packed_format(tmp_path, silent) == Awq(64)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"quant_method": "auto-round", "packing_format": "auto_round:auto_awq"}, "awq"),
        ({"quant_method": "auto-round"}, "gptq"),
    ],
)
def test_auto_rounds_own_names(tmp_path: Path, config: dict[str, object], expected: str) -> None:
    section = Section(
        {"text_config": {"quantization_config": {**config, "bits": 4}}}, "config.json"
    )
    packed = read_packed_format(tmp_path, section)
    assert packed is not None and packed.method == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**GPTQ, "checkpoint_format": "marlin"}, '"marlin" as checkpoint_format'),
        ({**GPTQ, "bits": 3}, "3 bits, but 4 and 8"),
        ({**AWQ, "version": "gemv"}, "gemv as AWQ's version"),
        ({**AWQ, "bits": 8}, "8 bits, but 4 are"),
        ({"quant_method": "hqq"}, "quantized by hqq, but export reads gptq, awq"),
        ({"quant_method": "torchao"}, "quantized by torchao"),
        ({"quant_method": "mxfp4"}, "quantized by mxfp4"),
        ({"quant_method": "auto-round", "data_type": "mx_fp"}, '"mx_fp" as data_type'),
        ({"quant_method": "fp8", "scale_fmt": "ue8m0"}, '"ue8m0" as scale_fmt'),
    ],
)
def test_what_cannot_be_imported_is_refused(
    tmp_path: Path, config: dict[str, object], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_packed_format(tmp_path, Section({"quantization_config": config}, "config.json"))


def spoil(folder: Path, part: str, tensor: torch.Tensor | None) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = f"language_model.model.layers.0.mlp.down_proj.{part}"
    if tensor is None:
        del tensors[name]
    else:
        tensors[name] = tensor
    save_file(tensors, path)


def test_broken_layers(tmp_path: Path) -> None:
    cases = (
        ("scales", None, "without scales"),
        ("qzeros", torch.zeros(5, 11, dtype=torch.int32), "in 11 integers, .* neither 4 nor 8"),
        ("qzeros", torch.zeros(4, 12, dtype=torch.int32), r"qzeros in the shape \[4, 12\]"),
    )
    for number, (part, tensor, message) in enumerate(cases):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_gptq(folder)
        spoil(folder, part, tensor)
        with pytest.raises(CheckpointError, match=message):
            open_checkpoint(folder)


def test_infinite_scales_are_named(tmp_path: Path) -> None:
    write_gptq(tmp_path)
    spoil(tmp_path, "scales", torch.full((5, 96), torch.inf, dtype=torch.float16))
    weight = open_checkpoint(tmp_path).tensors["language_model.layers.0.mlp.down_proj.weight"]
    assert weight.blocks is not None
    for read in (weight.read, weight.blocks):
        with pytest.raises(CheckpointError, match=r"down_proj\.weight holds NaN or infinite"):
            read()
