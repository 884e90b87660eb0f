"""Which of onnxruntime's CUDA kernels a written graph's products and attention will take.

By the rules of onnxruntime 1.31's operators (contrib_ops/cuda/quantization/matmul_nbits.cc and
docs/contrib_ops/cuda/{matmul_nbits,gqa}.md), which choose in silence. XQA and flash attention are
those of GPUs from compute capability 8.0 on; older ones compute attention by another kernel.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

FASTEST = "fpA_intB"  # weights of few bits and float16 rows, multiplied as they are
GEMV = "GEMV"  # for one row; more than a few rows unpack the matrix first
UNPACKED = "unpacked"  # the whole matrix, for every row that is read
XQA = "XQA"  # attention of one token over a cache whose heads are shared
FLASH = "flash attention"

_ROWS = {4: 64, 8: 32}  # of a matrix, a multiple of which FASTEST takes, by bits
_GEMV_BLOCKS = (16, 32, 64, 128)
_XQA_HEADS = (64, 128, 256)  # their dimensions
_XQA_GROUPS = (1, 2, 4, 5, 8, 16, 32)  # query heads for each key


@dataclass(frozen=True)
class Kernel:
    """What computes a node, and why it is not the fastest that there is."""

    node: str
    name: str
    reason: str = ""


def cuda_kernels(graph: Path) -> list[Kernel]:
    """The kernel of each 4- or 8-bit product and each attention, for a step of one token."""
    found = onnx.load(graph, load_external_data=False).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in found.input
    }
    return [kernel for node in found.node for kernel in _kernel(node, shapes)]


def _kernel(node: Any, shapes: Mapping[str, list[int]]) -> Iterator[Kernel]:
    attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    if node.op_type == "MatMulNBits":
        yield Kernel(node.name, *_product(attributes, node.input))
    elif node.op_type == "GroupQueryAttention":
        past_keys = shapes[node.input[3]]  # [1, kv heads, L, head dim]
        yield Kernel(node.name, *_attention(attributes, past_keys[3]))


def _product(attributes: Mapping[str, int], inputs: Any) -> tuple[str, str]:
    bits, block, rows = (attributes[name] for name in ("bits", "block_size", "N"))
    given = [bool(name) for name in inputs] + [False] * 6
    reasons = {
        f"its {attributes['K']} columns are no multiple of 64": bool(attributes["K"] % 64),
        "it has zero points": given[3],
        "it has a bias": given[5],
        f"its blocks are of {block} weights, not 32": block != 32,
        f"it has {bits} bits": bits not in _ROWS,
        f"its {rows} rows are no multiple of {_ROWS.get(bits)}": bool(rows % _ROWS.get(bits, 1)),
    }
    reason = next((reason for reason, holds in reasons.items() if holds), "")
    if not reason:
        return FASTEST, ""
    slow = rows % 8 or attributes["K"] % 8 or block not in _GEMV_BLOCKS
    return (UNPACKED if slow else GEMV), reason


def _attention(attributes: Mapping[str, int], head_dim: int) -> tuple[str, str]:
    group = attributes["num_heads"] // attributes["kv_num_heads"]
    if group not in _XQA_GROUPS:
        return FLASH, f"{group} heads share a key"
    if head_dim not in _XQA_HEADS:
        return FLASH, f"its heads have {head_dim} dimensions"
    return XQA, ""
