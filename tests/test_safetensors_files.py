"""Files that are missing, cut short or of the wrong kind end in one sentence."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from llava_edge.errors import CheckpointError
from llava_edge.export.safetensors_files import INDEX, open_file, open_folder


def write_shards(folder: Path) -> None:
    save_file({"a": torch.arange(6).reshape(2, 3).bfloat16()}, folder / "one.safetensors")
    save_file({"b": torch.ones(4)}, folder / "two.safetensors")
    weight_map = {"a": "one.safetensors", "b": "two.safetensors"}
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


def test_shards(tmp_path: Path) -> None:
    write_shards(tmp_path)
    tensors = open_folder(tmp_path)
    assert {name: tensor.shape for name, tensor in tensors.items()} == {"a": (2, 3), "b": (4,)}
    read = tensors["a"].read()
    assert read.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(read.astype(np.float32), [[0, 1, 2], [3, 4, 5]])


def test_missing_shard(tmp_path: Path) -> None:
    write_shards(tmp_path)
    (tmp_path / "two.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"two\.safetensors is missing"):
        open_folder(tmp_path)


def test_shard_outside_the_folder(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": "../one.safetensors"}}))
    with pytest.raises(CheckpointError, match="own folder"):
        open_folder(tmp_path)


@pytest.mark.parametrize("index", ["{", "[]", "{}", '{"weight_map": {"a": 1}}'])
def test_broken_index(tmp_path: Path, index: str) -> None:
    (tmp_path / INDEX).write_text(index)
    with pytest.raises(CheckpointError):
        open_folder(tmp_path)


@pytest.mark.parametrize("kept", [0, 5, 40, -1])
def test_cut_short(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(40)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="no whole safetensors file"):
        open_folder(tmp_path)


def test_gone_while_reading(tmp_path: Path) -> None:
    write_shards(tmp_path)
    tensors = open_folder(tmp_path)
    (tmp_path / "two.safetensors").unlink()
    with pytest.raises(CheckpointError, match="leave the checkpoint in place"):
        tensors["b"].read()


def test_unsupported_number_format(tmp_path: Path) -> None:
    save_file({"a": torch.ones(4, dtype=torch.float64)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="as F64"):
        open_file(tmp_path / "a.safetensors")


def test_pickled_weights_are_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"never read")
    with pytest.raises(CheckpointError, match="convert the checkpoint to safetensors"):
        open_folder(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds neither"):
        open_folder(tmp_path)
