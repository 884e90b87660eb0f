"""bitsandbytes dequantizes its layers to the same numbers; NF4 and 8-bit integers are kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bitsandbytes import functional
from products import multiply, multiply_nf4
from quantized_checkpoints import write_bitsandbytes
from safetensors.torch import load_file, save_file
from tiny import Tiny, write_llava
from torch import Tensor

from llava_edge.errors import CheckpointError
from llava_edge.export.export import export
from llava_edge.export.layouts.checkpoint import open_checkpoint
from llava_edge.export.quantization.blocks import Blocks
from llava_edge.export.quantization.nf4 import Nf4

LAYER = "language_model.layers.0.mlp.down_proj.weight"
NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
KINDS: dict[str, dict[str, Any]] = {
    "nf4": NF4,
    "nf4, double quantization": {**NF4, "bnb_4bit_use_double_quant": True},
    "nf4, stored as bfloat16": {**NF4, "bnb_4bit_quant_storage": torch.bfloat16},
    "fp4": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
    "int8": {"load_in_8bit": True},
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    write_llava(folder, Tiny(dtype=torch.bfloat16))
    return folder


def theirs(tensors: dict[str, Tensor], name: str) -> np.ndarray[Any, Any]:
    """What bitsandbytes makes of a layer, in float32."""
    stem = name.removesuffix(".weight")
    if f"{stem}.SCB" in tensors:
        scaled = functional.int8_vectorwise_dequant(tensors[name], tensors[f"{stem}.SCB"])
        return np.asarray(scaled.numpy())
    parts = {key.removeprefix(f"{name}."): t for key, t in tensors.items() if f"{name}." in key}
    state = functional.QuantState.from_dict(parts, torch.device("cpu"))
    shape, state.dtype = state.shape, torch.float32
    # As one row: on CPUs it mixes up scales where blocks reach over the end of a row (0.50).
    state.shape = (1, shape.numel())
    return np.asarray(functional.dequantize_4bit(tensors[name], state).reshape(shape).numpy())


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_is_what_bitsandbytes_makes_of_it(
    source: Path, tmp_path: Path, kind: str
) -> None:
    write_bitsandbytes(source, tmp_path, **KINDS[kind])
    tensors = load_file(tmp_path / "model.safetensors")
    opened = open_checkpoint(tmp_path)
    assert opened.method == "bitsandbytes"
    layers = [
        name.removesuffix(".weight.absmax").removesuffix(".SCB") + ".weight"
        for name in tensors
        if name.endswith((".weight.absmax", ".SCB")) and "vision_tower.encoder.layers.2" not in name
    ]
    assert len(layers) == 14 + 12 + 2  # of the language model, the tower and the projector
    for name in layers:
        ours = opened.tensors[name.replace("language_model.model.", "language_model.")].read()
        error = 2e-7 * np.abs(ours).max() if kind == "int8" else 0  # the order of two products
        np.testing.assert_allclose(ours, theirs(tensors, name), rtol=0, atol=error)


def test_nf4_is_kept_for_onnxruntimes_own_operator(source: Path, tmp_path: Path) -> None:
    write_bitsandbytes(source, tmp_path / "nf4", **KINDS["nf4, double quantization"])
    weight = open_checkpoint(tmp_path / "nf4").tensors[LAYER]
    assert weight.blocks is not None
    matrix = weight.blocks()
    assert isinstance(matrix, Nf4)
    rows = np.random.default_rng(0).normal(size=(3, 160)).astype(np.float32)
    np.testing.assert_allclose(multiply_nf4(rows, matrix), rows @ weight.read().T, atol=1e-5)
    config = export(tmp_path / "nf4", tmp_path / "bundle").quantization
    assert (config.method, config.bits, config.block_size) == ("bitsandbytes", 4, 64)


def test_blocks_that_the_operator_does_not_take(source: Path, tmp_path: Path) -> None:
    write_bitsandbytes(source, tmp_path, **NF4)
    path, layer = tmp_path / "model.safetensors", "language_model.model.layers.0.mlp.down_proj"
    random = torch.Generator().manual_seed(0)
    matrix = torch.randn(96, 160, generator=random)
    packed, state = functional.quantize_4bit(matrix, blocksize=512, quant_type="nf4")
    parts = {f"{layer}.weight.{key}": part for key, part in state.as_dict(packed=True).items()}
    tensors = {**load_file(path), f"{layer}.weight": packed, **parts}
    save_file(tensors, path, {"format": "pt"})
    weight = open_checkpoint(tmp_path).tensors[LAYER]
    assert weight.blocks is None and weight.unkept == "in NF4 blocks of 512 weights"
    np.testing.assert_array_equal(weight.read(), theirs(tensors, f"{layer}.weight"))


def test_integers_of_8_bits_are_kept_as_blocks(source: Path, tmp_path: Path) -> None:
    write_bitsandbytes(source, tmp_path / "int8", **KINDS["int8"])
    weight = open_checkpoint(tmp_path / "int8").tensors[LAYER]
    assert weight.blocks is not None
    matrix = weight.blocks()
    assert isinstance(matrix, Blocks) and matrix.zero_points is None
    stored = load_file(tmp_path / "int8" / "model.safetensors")
    integers = stored["language_model.model.layers.0.mlp.down_proj.weight"].numpy()
    np.testing.assert_array_equal(matrix.data.reshape(96, 160) - np.int16(128), integers)
    rows = np.random.default_rng(0).normal(size=(3, 160)).astype(np.float32)
    np.testing.assert_allclose(multiply(rows, matrix), rows @ weight.read().T, atol=1e-4)
    config = export(tmp_path / "int8", tmp_path / "bundle").quantization
    assert (config.method, config.bits) == ("bitsandbytes", 8)


@pytest.mark.parametrize(
    ("kind", "part", "tensor", "message"),
    [
        ("nf4", "weight.absmax", None, "without weight.absmax"),
        ("nf4", "weight.absmax", torch.ones(7), r"absmax in the shape \[7\], but \[240\]"),
        ("nf4", "weight", torch.zeros(9, 1, dtype=torch.uint8), "in 9 bytes, but 7,680"),
        ("nf4", "weight.quant_map", torch.ones(7), r"quant_map in the shape \[7\], but \[16\]"),
        ("nf4", "weight.quant_state.bitsandbytes__nf4", torch.zeros(9, dtype=torch.uint8), "JSON"),
        ("int8", "SCB", None, "as I8 without what bitsandbytes needs"),
        ("int8", "SCB", torch.ones(7), r"SCB in the shape \[7\], but \[96\]"),
        ("int8", "weight_format", torch.tensor(1, dtype=torch.uint8), "in an order"),
    ],
)
def test_broken_layers(
    source: Path, tmp_path: Path, kind: str, part: str, tensor: Tensor | None, message: str
) -> None:
    write_bitsandbytes(source, tmp_path, **KINDS[kind])
    path = tmp_path / "model.safetensors"
    name = f"language_model.model.layers.0.mlp.down_proj.{part}"
    tensors = {key: value for key, value in load_file(path).items() if key != name}
    save_file(tensors if tensor is None else {**tensors, name: tensor}, path)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path)
