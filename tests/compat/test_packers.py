"""What AutoGPTQ and AutoAWQ packed multiplies as they say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from overlay import Overlay
from products import Array, multiply

from llava_edge.core.strict import Section
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.formats.prequantized import read_packed_format, unpack
from llava_edge.export.quantization.blocks import Blocks

WRITE = Path(__file__).parent / "write_packed.py"
GPTQ = {"quant_method": "gptq", "desc_act": False}
AWQ = {"quant_method": "awq", "bits": 4, "version": "gemm"}


@pytest.fixture(scope="module")
def written(packers: Overlay, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    packers.run(WRITE, folder)
    return folder


def lazy(array: np.ndarray[Any, Any]) -> LazyTensor:
    return LazyTensor(array.shape, lambda: array)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group", [16, 32, 128, -1])
def test_what_autogptq_packed(written: Path, bits: int, group: int) -> None:
    assert_same_product(
        written / f"gptq-{bits}-{group}.npz", {**GPTQ, "bits": bits, "group_size": group}
    )


@pytest.mark.parametrize("bits", [4, 8])
def test_what_autogptq_packed_in_scattered_groups(written: Path, bits: int) -> None:
    path = written / f"scattered-{bits}-32.npz"
    config = {**GPTQ, "bits": bits, "group_size": 32, "desc_act": True}
    weight, rows, expected = opened(path, config)
    assert weight.blocks is None and "scattered" in weight.unkept
    np.testing.assert_allclose(rows @ weight.read().T, expected, atol=1e-4)


@pytest.mark.parametrize("group", [32, 128])
def test_what_autoawq_packed(written: Path, group: int) -> None:
    assert_same_product(written / f"awq-4-{group}.npz", {**AWQ, "group_size": group})


def assert_same_product(path: Path, config: dict[str, object]) -> None:
    weight, rows, expected = opened(path, config)
    assert weight.blocks is not None
    blocks = weight.blocks()
    assert isinstance(blocks, Blocks) and blocks.scales.dtype == np.float16
    tolerance = 1e-4 if config["quant_method"] == "gptq" else 3e-3  # AutoAWQ's are in float16
    np.testing.assert_allclose(multiply(rows, blocks), expected, atol=tolerance)
    np.testing.assert_allclose(rows @ weight.read().T, expected, atol=tolerance)


def opened(path: Path, config: dict[str, object]) -> tuple[LazyTensor, Array, Array]:
    """The weight in a file, rows, and what the library makes of them."""
    with np.load(path) as content:
        arrays = dict(content)
    rows, expected = arrays.pop("rows"), arrays.pop("expected")
    arrays["scales"] = arrays["scales"].astype(np.float16)
    packed = read_packed_format(
        path.parent, Section({"quantization_config": config}, "config.json")
    )
    assert packed is not None
    tensors = {f"layer.{name}": lazy(array) for name, array in arrays.items()}
    return unpack(tensors, packed, path.parent)["layer.weight"], rows, expected
