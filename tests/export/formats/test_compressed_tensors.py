"""compressed-tensors decompresses its layers to the same numbers; integers are kept."""

import json
import logging
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from products import multiply
from quantized_checkpoints import write_compressed
from tiny import Tiny, write_llava
from transformers import AutoConfig, LlavaForConditionalGeneration

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.export import export
from llava_edge.export.formats.prequantized import read_packed_format
from llava_edge.export.layouts.checkpoint import open_checkpoint
from llava_edge.export.quantization.blocks import Blocks

PACKED, INTEGERS, FLOATS = "pack-quantized", "int-quantized", "float-quantized"
SQUARES = {"strategy": "block", "block_structure": [64, 32]}
KINDS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "W4A16": (PACKED, 16, {"num_bits": 4, "strategy": "group", "group_size": 32}),
    "W4A16, zero points": (
        PACKED,
        16,
        {"num_bits": 4, "strategy": "group", "group_size": 16, "symmetric": False},
    ),
    "W4A16, rows": (PACKED, 16, {"num_bits": 4, "strategy": "channel"}),
    "W8A16": (PACKED, 16, {"num_bits": 8, "strategy": "group", "group_size": 32}),
    "W8A8": (INTEGERS, 8, {"num_bits": 8, "strategy": "channel"}),
    "W8A8, zero points": (INTEGERS, 8, {"num_bits": 8, "strategy": "channel", "symmetric": False}),
    "naive": ("naive-quantized", 16, {"num_bits": 8, "strategy": "tensor"}),
    "FP8": (FLOATS, 8, {"num_bits": 8, "type": "float", "strategy": "tensor"}),
    "FP8, rows": (FLOATS, 8, {"num_bits": 8, "type": "float", "strategy": "channel"}),
    "FP8, squares": (FLOATS, 8, {"num_bits": 8, "type": "float", **SQUARES}),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    write_llava(folder, Tiny(dtype=torch.bfloat16))
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_is_what_the_library_makes_of_it(
    source: Path, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    form, activations, weights = KINDS[kind]
    write_compressed(source, tmp_path, form, activations=activations, **weights)
    with caplog.at_level(logging.INFO, "llava_edge"):
        opened = open_checkpoint(tmp_path)
    assert ("activations of 8 bits as well, which is left out" in caplog.text) == (activations < 16)
    assert opened.method == "compressed-tensors"
    decompressed = AutoConfig.from_pretrained(tmp_path)
    decompressed.quantization_config["run_compressed"] = False
    judge = LlavaForConditionalGeneration.from_pretrained(
        tmp_path, config=decompressed, dtype=torch.bfloat16
    ).state_dict()
    layers = [name for name, t in opened.tensors.items() if t.blocks or t.unkept]
    assert len(layers) == 14
    for name in layers:
        weight, expected = opened.tensors[name], judge[f"model.{name}"].float().numpy()
        found = weight.read().astype(ml_dtypes.bfloat16)  # as which the library computes it
        np.testing.assert_array_equal(found.astype(np.float32), expected)
        assert bool(weight.blocks) == (form != FLOATS)
        if weight.blocks is not None:
            blocks = weight.blocks()
            assert isinstance(blocks, Blocks)
            assert (blocks.zero_points is None) == weights.get("symmetric", True)
            rows = np.random.default_rng(0).normal(size=(3, blocks.columns)).astype(np.float32)
            product = multiply(rows, blocks)
            np.testing.assert_allclose(product, rows @ weight.read().T, atol=1e-4)


def test_a_bundle_keeps_the_integers(source: Path, tmp_path: Path) -> None:
    form, _, weights = KINDS["W4A16"]
    write_compressed(source, tmp_path / "w4", form, **weights)
    config = export(tmp_path / "w4", tmp_path / "bundle").quantization
    assert (config.method, config.bits, config.block_size) == ("compressed-tensors", 4, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "nvfp4-pack-quantized"}, '"nvfp4-pack-quantized" as format'),
        ({"format": "mxfp4-pack-quantized"}, '"mxfp4-pack-quantized" as format'),
        ({"quantization_status": "frozen"}, '"frozen" as quantization_status'),
        ({"transform_config": {"config_groups": {}}}, "has a transform_config"),
        ({"sparsity_config": {"format": "sparse-24-bitmask"}}, "has a sparsity_config"),
    ],
)
def test_what_means_something_else_is_refused(change: dict[str, object], message: str) -> None:
    config = {"quant_method": "compressed-tensors", "format": PACKED, "config_groups": {}, **change}
    with pytest.raises(CheckpointError, match=message):
        read_packed_format(Path(), Section({"quantization_config": config}, "config.json"))


def test_other_bits_are_named(source: Path, tmp_path: Path) -> None:
    write_compressed(source, tmp_path, PACKED, num_bits=3, strategy="channel")
    with pytest.raises(CheckpointError, match=r"96 x 160 weights in \[96, 15\] integers"):
        open_checkpoint(tmp_path)


def test_a_kv_cache_of_fewer_bits_is_said_to_be_left_out(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    form, _, weights = KINDS["W4A16"]
    write_compressed(source, tmp_path, form, **weights)
    content = json.loads((tmp_path / "config.json").read_text())
    content["quantization_config"]["kv_cache_scheme"] = {"num_bits": 8, "type": "float"}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with caplog.at_level(logging.INFO, "llava_edge"):
        open_checkpoint(tmp_path)
    assert "a KV cache of fewer bits, which is left out" in caplog.text
