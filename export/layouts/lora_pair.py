"""What two matrices of LoRA make of the weight that they adapt, as peft computes it."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.layouts.adapter_config import Residual


@dataclass(frozen=True)
class Pair:
    """W becomes W + scale * B @ A, with A [rank, inputs] and B [outputs, rank].

    `residual`: first W loses what A and B began with. `magnitude`: the rows of the result, or its
    columns where W is an embedding table, get these lengths (DoRA, arXiv 2402.09353).
    """

    a: LazyTensor
    b: LazyTensor
    scale: float
    residual: Residual | None = None
    magnitude: LazyTensor | None = None
    is_embedding: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """That of the weight."""
        return self.b.shape[0], self.a.shape[1]


def adapted(weight: LazyTensor, pair: Pair) -> LazyTensor:
    """The weight with its pair merged, in float32."""
    return LazyTensor(weight.shape, partial(_merged, weight, pair))


def without_beginning(weight: LazyTensor, pair: Pair) -> LazyTensor:
    """The weight without what its pair began with, in float32."""
    if pair.residual is None:
        return weight
    return LazyTensor(weight.shape, partial(_base, weight, pair))


def _merged(weight: LazyTensor, pair: Pair) -> NDArray[Any]:
    result = _base(weight, pair)
    result += np.float32(pair.scale) * (_float32(pair.b) @ _float32(pair.a))
    if pair.magnitude is not None:
        axis = 0 if pair.is_embedding else 1
        lengths = np.linalg.norm(result, axis=axis, keepdims=True)
        result *= np.expand_dims(_float32(pair.magnitude), axis) / lengths
    return result


def _base(weight: LazyTensor, pair: Pair) -> NDArray[Any]:
    """What B @ A is added to; the spans are those of peft's `pissa_init` and `olora_init`."""
    result = _float32(weight)
    if pair.residual == "svd":
        return result - _greatest(result, pair.a.shape[0])
    if pair.residual == "qr":
        span, _ = np.linalg.qr(result[:, : pair.a.shape[0]])
        return result - np.float32(pair.scale) * (span @ (span.T @ result))
    return result


def _greatest(matrix: NDArray[np.float32], rank: int) -> NDArray[np.float32]:
    """The part of a matrix that its greatest singular values make.

    By the eigenvectors of its smaller Gram matrix in float64: as near as a singular value
    decomposition in float32, in a third to a sixth of its time.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return _greatest(matrix.T, rank).T
    wide = matrix.astype(np.float64)
    _, vectors = np.linalg.eigh(wide @ wide.T)  # in ascending order
    span = vectors[:, -rank:].astype(np.float32)
    part: NDArray[np.float32] = span @ (span.T @ matrix)
    return part


def _float32(tensor: LazyTensor) -> NDArray[np.float32]:
    return tensor.read().astype(np.float32)
