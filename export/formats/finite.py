"""NaN and infinite weights are found as they are read, and named."""

from dataclasses import replace
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np

from llava_edge.errors import CheckpointError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.quantization.blocks import Blocks
from llava_edge.export.quantization.nf4 import Nf4
from llava_edge.export.quantization.precision import dequantized

# The bits of a 16-bit float's exponent, which are all set in infinities and NaN alone.
_EXPONENT = {np.dtype(np.float16): 0x7C00, np.dtype(ml_dtypes.bfloat16): 0x7F80}
_CHUNK = 1 << 24  # weights looked at at once


def only_finite(name: str, tensor: LazyTensor) -> LazyTensor:
    """The same tensor, which raises CheckpointError when NaN or infinite weights are read."""
    blocks = None if tensor.blocks is None else partial(_blocks, name, tensor)
    return replace(tensor, read=partial(_read, name, tensor), blocks=blocks)


def is_finite(array: np.ndarray[Any, Any]) -> bool:
    """Whether every number is one."""
    flat = array.reshape(-1)
    parts = (flat[start : start + _CHUNK] for start in range(0, flat.size, _CHUNK))
    mask = _EXPONENT.get(array.dtype)
    if mask is None:
        return all(bool(np.isfinite(part).all()) for part in parts)
    return not any(bool(((part.view(np.uint16) & mask) == mask).any()) for part in parts)


def _read(name: str, tensor: LazyTensor) -> np.ndarray[Any, Any]:
    if tensor.blocks is not None:
        return dequantized(_blocks(name, tensor))
    array = tensor.read()
    _check(name, array)
    return array


def _blocks(name: str, tensor: LazyTensor) -> Blocks | Nf4:
    assert tensor.blocks is not None
    blocks = tensor.blocks()
    _check(name, blocks.scales if isinstance(blocks, Blocks) else blocks.largest)
    return blocks


def _check(name: str, array: np.ndarray[Any, Any]) -> None:
    if not is_finite(array):
        raise CheckpointError(
            f"The checkpoint's {name} holds NaN or infinite weights; fetch the file again, or take "
            "an earlier checkpoint."
        )
