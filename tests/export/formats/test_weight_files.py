"""Files that are missing, cut short or of the wrong kind end in one sentence."""

import json
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from llava_edge.errors import CheckpointError
from llava_edge.export.formats.weight_files import open_file, open_weights

INDEX = "model.safetensors.index.json"
BIN_INDEX = "pytorch_model.bin.index.json"
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])


def write_shards(folder: Path) -> None:
    save_file({"a": torch.arange(6).reshape(2, 3).bfloat16()}, folder / "one.safetensors")
    save_file({"b": torch.ones(4)}, folder / "two.safetensors")
    weight_map = {"a": "one.safetensors", "b": "two.safetensors"}
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


def test_shards(tmp_path: Path) -> None:
    write_shards(tmp_path)
    tensors = open_weights(tmp_path)
    assert {name: tensor.shape for name, tensor in tensors.items()} == {"a": (2, 3), "b": (4,)}
    read = tensors["a"].read()
    assert read.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(read.astype(np.float32), [[0, 1, 2], [3, 4, 5]])


def test_missing_shard(tmp_path: Path) -> None:
    write_shards(tmp_path)
    (tmp_path / "two.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"two\.safetensors is missing"):
        open_weights(tmp_path)


def test_shard_outside_the_folder(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": "../one.safetensors"}}))
    with pytest.raises(CheckpointError, match="own folder"):
        open_weights(tmp_path)


@pytest.mark.parametrize("index", ["{", "[]", "{}", '{"weight_map": {"a": 1}}'])
def test_broken_index(tmp_path: Path, index: str) -> None:
    (tmp_path / INDEX).write_text(index)
    with pytest.raises(CheckpointError):
        open_weights(tmp_path)


@pytest.mark.parametrize("kept", [0, 5, 40, -1])
def test_cut_short(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(40)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="no safetensors file"):
        open_weights(tmp_path)


def test_gone_while_reading(tmp_path: Path) -> None:
    write_shards(tmp_path)
    tensors = open_weights(tmp_path)
    (tmp_path / "two.safetensors").unlink()
    with pytest.raises(CheckpointError, match="leave the checkpoint in place"):
        tensors["b"].read()


def test_unsupported_number_format(tmp_path: Path) -> None:
    save_file({"a": torch.ones(4, dtype=torch.float64)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="as F64"):
        open_file(tmp_path / "a.safetensors")


@DTYPES
def test_pickled_weights_are_read(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.arange(12).reshape(4, 3).to(dtype)
    content = {"a": tensor, "transposed": tensor.T, "part": tensor[1:3]}
    torch.save(content, tmp_path / "pytorch_model.bin")
    tensors = open_weights(tmp_path)
    for name, expected in content.items():
        assert tensors[name].shape == tuple(expected.shape)
        read = tensors[name].read()
        assert str(read.dtype) == str(dtype).removeprefix("torch.")
        np.testing.assert_array_equal(read.astype(np.float32), expected.float().numpy())


def test_what_was_still_trained_is_read(tmp_path: Path) -> None:
    torch.save({"a": torch.nn.Parameter(torch.ones(2))}, tmp_path / "pytorch_model.bin")
    np.testing.assert_array_equal(open_weights(tmp_path)["a"].read(), [1, 1])


def test_pickles_of_before_torch_1_6(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.arange(3.0)}, path, _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(open_weights(tmp_path)["a"].read(), [0, 1, 2])


def test_pickled_shards(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "one.bin")
    torch.save({"b": torch.ones(3)}, tmp_path / "two.bin")
    weight_map = {"a": "one.bin", "b": "two.bin"}
    (tmp_path / BIN_INDEX).write_text(json.dumps({"weight_map": weight_map}))
    assert {name: tensor.shape for name, tensor in open_weights(tmp_path).items()} == {
        "a": (2,),
        "b": (3,),
    }


def test_safetensors_are_preferred(tmp_path: Path) -> None:
    save_file({"a": torch.ones(4)}, tmp_path / "model.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"never read")
    assert set(open_weights(tmp_path)) == {"a"}


class Code:
    """What runs when it is unpickled carelessly."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path("ran").touch.__self__.__class__, ("ran",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": Code()}, "more than tensors"),
        ([torch.ones(2)], "a dictionary of tensors was expected"),
        ({"a": torch.ones(2, dtype=torch.float64)}, r"a \(torch.float64\)"),
        ({"a": 3}, r"a \(int\)"),
    ],
)
def test_pickles_of_anything_else_are_refused(
    tmp_path: Path, content: object, message: str
) -> None:
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=message):
        open_weights(tmp_path)


@pytest.mark.parametrize("kept", [0, 5, 40, -1])
def test_a_pickle_cut_short(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.ones(40)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        open_weights(tmp_path)


def test_pickles_need_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(CheckpointError, match="pip install torch"):
        open_weights(tmp_path)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path)
    save_file({"a": torch.ones(1), "b": torch.ones(4)}, tmp_path / "two.safetensors")
    with pytest.raises(CheckpointError, match="holds a, which another shard"):
        open_weights(tmp_path)


def test_overlapping_tensors_are_refused(tmp_path: Path) -> None:
    header = {
        name: {"dtype": "F32", "shape": [4], "data_offsets": [start, start + 16]}
        for name, start in (("a", 0), ("b", 8))
    }
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + bytes(24)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="no safetensors file"):
        open_weights(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds none of"):
        open_weights(tmp_path)
