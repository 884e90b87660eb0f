"""What is appended to weights.bin is found again where the reference says."""

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from llava_edge.export.graphs.weights_bin import ALIGNMENT, WeightsBin, dtype_of


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.float16, np.float32, np.dtype(">f4"), ml_dtypes.bfloat16]
)
def test_a_reference_finds_the_array(tmp_path: Path, dtype: np.dtype) -> None:
    arrays = [np.arange(24 * size).reshape(2, size, 12).astype(dtype) for size in (1, 300, 2)]
    with WeightsBin(tmp_path / "weights.bin") as weights:
        refs = [weights.append(array) for array in arrays]
    content = (tmp_path / "weights.bin").read_bytes()
    for array, ref in zip(arrays, refs, strict=True):
        assert ref.offset % ALIGNMENT == 0
        little = dtype_of(ref).newbyteorder("<")
        found = np.frombuffer(content, little, array.size, ref.offset).reshape(ref.shape)
        np.testing.assert_array_equal(found, array)


def test_a_transposed_array_is_written_row_by_row(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T
    with WeightsBin(tmp_path / "weights.bin") as weights:
        weights.append(array)
    content = np.fromfile(tmp_path / "weights.bin", np.float32)
    np.testing.assert_array_equal(content.reshape(4, 3), array)


def test_small_tensors_stand_in_the_graph(tmp_path: Path) -> None:
    with WeightsBin(tmp_path / "weights.bin") as weights:
        small = weights.tensor("small", weights.put(np.ones(255, np.float32)))
        assert not isinstance(small, ir.ExternalTensor)
        large = weights.tensor("large", weights.put(np.ones(256, np.float32)))
    assert isinstance(large, ir.ExternalTensor)
    assert (large.location, large.offset, large.length) == ("weights.bin", 0, 1024)
    np.testing.assert_array_equal(large.numpy(), np.ones(256))


def test_what_is_asked_for_again_is_not_made_again(tmp_path: Path) -> None:
    made = []

    def make() -> str:
        made.append(1)
        return "value"

    with WeightsBin(tmp_path / "weights.bin") as weights:
        assert [weights.once("name", make), weights.once("name", make)] == ["value", "value"]
    assert len(made) == 1
