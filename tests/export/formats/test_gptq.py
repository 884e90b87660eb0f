"""GPTQ's zero points and the order of its groups are told by what is stored, not by labels."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from quantized_checkpoints import GPTQ, pack
from torch import Tensor

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.formats.prequantized import read_packed_format, unpack
from llava_edge.export.quantization.blocks import Bits, Blocks, dequantize
from llava_edge.export.quantization.blocks import pack as pack_bits
from llava_edge.export.quantization.quantize import quantize

MISLABELLED = "not stored as its configuration says"


def layer(bits: Bits = 4, *, symmetric: bool = True, block_size: int = 32) -> Blocks:
    matrix = np.random.default_rng(0).normal(size=(64, 96)).astype(np.float32)
    return quantize(matrix, bits, block_size, symmetric=symmetric)


def read(parts: dict[str, Tensor], **config: object) -> LazyTensor:
    tensors = {
        f"layer.{name}": LazyTensor(tuple(part.shape), part.numpy) for name, part in parts.items()
    }
    described = {"quantization_config": {**GPTQ, **config}}
    packed = read_packed_format(Path("folder"), Section(described, "config.json"))
    assert packed is not None
    return unpack(tensors, packed, Path("folder"))["layer.weight"]


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("less", [0, 1])
@pytest.mark.parametrize("label", ["gptq", "gptq_v2"])
@pytest.mark.parametrize("said", [{"sym": True}, {}], ids=["sym", "nothing said"])
def test_symmetric_weights_are_read_as_they_are_stored(
    bits: Bits, less: int, label: str, said: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    blocks = layer(bits)
    with caplog.at_level(logging.INFO, "llava_edge"):
        weight = read(pack(blocks, less), bits=bits, checkpoint_format=label, **said)
    np.testing.assert_array_equal(weight.read(), dequantize(blocks))
    assert weight.blocks is not None
    found = weight.blocks()
    assert isinstance(found, Blocks) and found.zero_points is None
    assert (MISLABELLED in caplog.text) == (less != {"gptq": 1, "gptq_v2": 0}[label])


@pytest.mark.parametrize("less", [0, 1])
@pytest.mark.parametrize("packing", ["auto_round:auto_gptq", "auto_round:gptqmodel", "auto_round"])
def test_auto_rounds_symmetric_weights_likewise(less: int, packing: str) -> None:
    blocks = layer()
    config = {"quant_method": "auto-round", "packing_format": packing, "sym": True}
    np.testing.assert_array_equal(read(pack(blocks, less), **config).read(), dequantize(blocks))


@pytest.mark.parametrize(("label", "less"), [("gptq", 1), ("gptq_v2", 0)])
def test_asymmetric_weights_are_read_as_labelled(label: str, less: int) -> None:
    blocks = layer(symmetric=False)
    weight = read(pack(blocks, less), sym=False, checkpoint_format=label)
    np.testing.assert_array_equal(weight.read(), dequantize(blocks))


def test_asymmetric_weights_whose_zero_points_happen_to_be_equal() -> None:
    blocks = layer()
    nines = pack_bits(np.full((64, 4), 9, np.uint8), 4)
    expected = dequantize(replace(blocks, zero_points=nines))
    weight = read(pack(blocks, 0), sym=False, checkpoint_format="gptq")  # 8 is stored
    np.testing.assert_array_equal(weight.read(), expected)


def test_symmetric_weights_with_other_zero_points_are_refused() -> None:
    with pytest.raises(CheckpointError, match="symmetric, but the stored zero points of layer"):
        read(pack(layer(symmetric=False)), sym=True)


@pytest.mark.parametrize(("group", "block_size"), [(32, 32), (-1, 96)])
def test_groups_in_order_are_kept_whatever_desc_act_says(group: int, block_size: int) -> None:
    blocks = layer(symmetric=False, block_size=32)
    if group == -1:  # one scale a row
        whole = {"scales": blocks.scales[:, :1], "zero_points": blocks.zero_points[:, :1] & 15}
        blocks = replace(blocks, block_size=96, **whole)
    weight = read(pack(blocks), desc_act=True, static_groups=True, group_size=group)
    assert weight.blocks is not None and not weight.unkept
    found = weight.blocks()
    assert isinstance(found, Blocks)
    np.testing.assert_array_equal(dequantize(found), weight.read())
    np.testing.assert_array_equal(found.data, layer(symmetric=False).data)


def test_scattered_groups_are_dequantized_by_their_own_scales() -> None:
    blocks = layer(symmetric=False)
    parts, order = pack(blocks), np.random.default_rng(1).permutation(96)
    expected = dequantize(blocks)[:, order]
    integers = torch.tensor(_columns(parts["qweight"].numpy())[order])
    parts |= {"qweight": _rows_packed(integers), "g_idx": parts["g_idx"][order.tolist()]}
    weight = read(parts, desc_act=True)
    assert weight.blocks is None and "scattered" in weight.unkept
    np.testing.assert_array_equal(weight.read(), expected)


def _columns(packed: np.ndarray) -> np.ndarray:
    """[K / 8, N] int32 -> [K, N]."""
    shifted = packed.view(np.uint32)[:, None, :] >> (4 * np.arange(8, dtype=np.uint32))[:, None]
    return (shifted & 15).reshape(-1, packed.shape[1])


def _rows_packed(integers: Tensor) -> Tensor:
    parts = integers.numpy().astype(np.uint32).reshape(-1, 8, integers.shape[1])
    shifted = parts << (4 * np.arange(8, dtype=np.uint32))[:, None]
    return torch.tensor(np.bitwise_or.reduce(shifted, axis=1).view(np.int32))


def test_groups_that_no_block_fits_are_not_kept() -> None:
    blocks = layer(symmetric=False)
    parts = pack(blocks)
    for name in ("qzeros", "scales"):  # of 3 groups of 32: 8 of 12
        parts[name] = parts[name][:1].repeat(8, 1)
    del parts["g_idx"]
    weight = read(parts, group_size=12)
    assert weight.blocks is None and weight.unkept == "in groups of 12 weights"
    first = replace(
        blocks,
        scales=blocks.scales[:, :1].repeat(3, 1),
        zero_points=pack_bits((blocks.zero_points[:, :1] & 15).repeat(4, 1), 4),
    )
    np.testing.assert_array_equal(weight.read(), dequantize(first))


@pytest.mark.parametrize(
    ("g_idx", "message"),
    [(None, "has no g_idx"), (torch.arange(96) // 16, "with groups from 0 to 5, but there are 3")],
)
def test_an_order_that_nothing_tells(g_idx: Tensor | None, message: str) -> None:
    parts = pack(layer())
    del parts["g_idx"]
    if g_idx is not None:
        parts["g_idx"] = g_idx
    with pytest.raises(CheckpointError, match=message):
        read(parts, desc_act=True)
