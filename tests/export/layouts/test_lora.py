"""An adapter is plain LoRA that fits its base, or it is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from llava_edge.errors import CheckpointError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.layouts.lora import merge, open_adapter
from llava_edge.export.quantization.blocks import dequantize
from llava_edge.export.quantization.quantize import quantize

NAME = "language_model.layers.0.mlp.up_proj"
KEYS = [  # a Llama that stands alone, then in a LLaVA as two releases of transformers spell it
    "base_model.model.model.layers.0.mlp.up_proj",
    "base_model.model.model.language_model.layers.0.mlp.up_proj",
    "base_model.model.language_model.model.layers.0.mlp.up_proj",
]


def write_adapter(folder: Path, key: str = KEYS[0], **config: object) -> tuple[np.ndarray, ...]:
    a, b = torch.randn(3, 5), torch.randn(7, 3)
    tensors = {f"{key}.lora_A.weight": a, f"{key}.lora_B.weight": b}
    save_file(tensors, folder / "adapter_model.safetensors")
    values = {"peft_type": "LORA", "r": 3, "lora_alpha": 12, **config}
    (folder / "adapter_config.json").write_text(json.dumps(values))
    return a.numpy(), b.numpy()


def ones(*shape: int) -> LazyTensor:
    return LazyTensor(shape, lambda: np.ones(shape, np.float16))


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(("rslora", "scale"), [(False, 12 / 3), (True, 12 / 3**0.5)])
def test_merged(tmp_path: Path, key: str, rslora: bool, scale: float) -> None:
    a, b = write_adapter(tmp_path, key, use_rslora=rslora)
    adapter = open_adapter(tmp_path)
    assert adapter is not None
    merged = merge({f"{NAME}.weight": ones(7, 5), "other": ones(2)}, adapter, tmp_path)
    read = merged[f"{NAME}.weight"].read()
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, 1 + scale * (b @ a), rtol=1e-5)
    np.testing.assert_array_equal(merged["other"].read(), [1, 1])


def test_no_adapter(tmp_path: Path) -> None:
    assert open_adapter(tmp_path) is None


@pytest.mark.parametrize(
    "config",
    [
        {"peft_type": "IA3"},
        {"lora_bias": True},
        {"kasa_config": {"beta": 1e-4}},
        {"use_something_new": True},
        {"use_dora": True},
        {"rank_pattern": {"up_proj": 8}},
        {"fan_in_fan_out": True},
        {"r": 4},
        {"lora_alpha": "12"},
    ],
)
def test_more_than_plain_lora_is_refused(tmp_path: Path, config: dict[str, object]) -> None:
    write_adapter(tmp_path, **config)
    with pytest.raises(CheckpointError):
        open_adapter(tmp_path)


@pytest.mark.parametrize("shape", [(5, 7), (7, 6)])
def test_misfit_is_listed(tmp_path: Path, shape: tuple[int, int]) -> None:
    write_adapter(tmp_path)
    adapter = open_adapter(tmp_path)
    assert adapter is not None
    with pytest.raises(CheckpointError, match=rf"{NAME}\.weight"):
        merge({f"{NAME}.weight": ones(*shape)}, adapter, tmp_path)
    with pytest.raises(CheckpointError, match=rf"{NAME}\.weight"):
        merge({}, adapter, tmp_path)


def test_half_a_pair_is_refused(tmp_path: Path) -> None:
    write_adapter(tmp_path)
    half = {f"{KEYS[0]}.lora_A.weight": torch.ones(3, 5)}
    save_file(half, tmp_path / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match="no pair"):
        open_adapter(tmp_path)


def test_a_quantized_base(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is quantized anew, which is noted; what PiSSA began with is not to be had from it."""
    a, b = write_adapter(tmp_path)
    blocks = quantize(np.ones((7, 5), np.float32), 4)
    base = {f"{NAME}.weight": LazyTensor((7, 5), lambda: dequantize(blocks), lambda: blocks)}
    adapter = open_adapter(tmp_path)
    assert adapter is not None
    merged = merge(base, adapter, tmp_path)[f"{NAME}.weight"]
    assert merged.blocks is None and "matrices of a quantized base (1)" in caplog.text
    np.testing.assert_allclose(merged.read(), dequantize(blocks) + 4 * (b @ a), rtol=1e-5)
    write_adapter(tmp_path, init_lora_weights="pissa")
    adapter = open_adapter(tmp_path)
    assert adapter is not None
    with pytest.raises(CheckpointError, match="quantized; give the one in 16 or 32 bits"):
        merge(base, adapter, tmp_path)
