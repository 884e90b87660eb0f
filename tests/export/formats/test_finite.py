"""Weights that are no numbers end an export in one sentence that names them."""

import re
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import write_llava

from llava_edge.errors import CheckpointError
from llava_edge.export.export import export
from llava_edge.export.formats import finite
from llava_edge.export.formats.finite import is_finite
from llava_edge.export.layouts.tensor_names import canonical

DTYPES = [np.float32, np.float16, ml_dtypes.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_wrong_number_is_found(
    dtype: type, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finite, "_CHUNK", 7)
    array = np.linspace(-60000, 60000, 30).reshape(5, 6).astype(dtype)
    assert is_finite(array)
    array[4, 4] = value
    assert not is_finite(array)


def test_the_largest_and_smallest_numbers_are_numbers() -> None:
    for dtype in DTYPES:
        info = ml_dtypes.finfo(dtype)
        assert is_finite(np.array([info.max, info.min, info.smallest_subnormal, -0.0], dtype))


@pytest.mark.parametrize(
    "name",
    [
        "language_model.model.layers.1.mlp.up_proj.weight",
        "language_model.model.embed_tokens.weight",
        "vision_tower.encoder.layers.0.mlp.fc1.bias",
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_an_export_names_the_tensor(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    folder = tmp_path / "checkpoint"
    write_llava(folder)
    tensors = load_file(folder / "model.safetensors")
    tensors[name] = tensors[name].to(dtype)
    tensors[name].view(-1)[3] = torch.nan
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"'s {re.escape(canonical(name))} holds NaN"):
        export(folder, tmp_path / "bundle")
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint"}
