"""How an export stores the weights: what the options of `llava-edge export` say."""

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from llava_edge.core.weight_formats import (
    BLOCK_SIZE,
    BLOCK_SIZES,
    CACHE_BITS,
    METHOD,
    NF4_BLOCK_SIZE,
    TOWER,
    CacheBits,
)
from llava_edge.core.weight_formats import Method as Method
from llava_edge.core.weight_formats import TableBits as TableBits
from llava_edge.core.weight_formats import TowerFormat as TowerFormat
from llava_edge.errors import CheckpointError, UsageError
from llava_edge.export.quantization.blocks import Bits, Blocks, dequantize
from llava_edge.export.quantization.nf4 import Nf4, dequantize_nf4, quantize_nf4
from llava_edge.export.quantization.quantize import quantize
from llava_edge.export.quantization.schemes import Scheme

Matrix = Blocks | Nf4 | NDArray[Any]


@dataclass(frozen=True)
class Precision:
    """A choice for each part; None is the method's own.

    `eight_bits` names linear layers of the decoder that keep 8 bits, such as
    "layers.0.mlp.down_proj". `symmetric` blocks have no zero points, as onnxruntime's fastest
    kernels for NVIDIA's GPUs want them; None is so where there is a graph for GPUs. Raises
    UsageError for values that no operator takes.
    """

    method: Method = METHOD
    block_size: int | None = None
    head_bits: TableBits | None = None
    embedding_bits: TableBits | None = None
    tower: TowerFormat = TOWER
    eight_bits: frozenset[str] = frozenset()
    symmetric: bool | None = None
    gpu_cache_bits: CacheBits = CACHE_BITS  # of the KV cache of a GPU's graph

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            known = ", ".join(get_args(Method))
            raise UsageError(f'There is no quantization "{self.method}"; choose one of {known}.')
        if self.block_size is not None and self.block_size not in BLOCK_SIZES:
            raise UsageError(
                f"The block size is {self.block_size}; choose one of "
                f"{', '.join(map(str, BLOCK_SIZES))}."
            )
        for name, bits in (("head", self.head_bits), ("embedding", self.embedding_bits)):
            if bits is not None and bits not in get_args(TableBits):
                raise UsageError(f"{name} bits are {bits}; choose 4, 8 or 16.")
        if self.gpu_cache_bits not in get_args(CacheBits):
            raise UsageError(f"GPU cache bits are {self.gpu_cache_bits}; choose 8 or 16.")

    @property
    def blocks(self) -> int:
        """The block size of the linear layers."""
        return self.block_size or (NF4_BLOCK_SIZE if self.method == "nf4" else BLOCK_SIZE)

    def linear(self, name: str, matrix: NDArray[Any]) -> Matrix:
        """A linear layer's [N, K] matrix as it is stored; raises CheckpointError."""
        if self.method == "none":
            return matrix
        if self.method == "nf4":
            return quantize_nf4(matrix, self.blocks)
        bits: Bits = 8 if name in self.eight_bits else 4
        return self._quantize(name, matrix, bits, self.blocks)

    def table(
        self, name: str, matrix: NDArray[Any], bits: TableBits | None
    ) -> Blocks | NDArray[Any]:
        """The head's or the embedding's [V, D] matrix as it is stored; raises CheckpointError."""
        if bits is None:
            bits = None if self.method == "none" else 8
        if bits is None:
            return matrix
        if bits == 16:
            return matrix if matrix.itemsize == 2 else matrix.astype(np.float16)
        block_size = BLOCK_SIZE if self.method in ("nf4", "none") else self.blocks
        return self._quantize(name, matrix, bits, block_size)

    @property
    def scheme(self) -> Scheme:
        """How integers and scales are found, where nothing else has tuned them."""
        return "rtn" if self.method == "rtn" else "kquant"

    def _quantize(self, name: str, matrix: NDArray[Any], bits: Bits, block_size: int) -> Blocks:
        try:
            return quantize(matrix, bits, block_size, self.scheme, symmetric=bool(self.symmetric))
        except OverflowError as error:
            raise CheckpointError(
                f"{name} cannot be quantized ({error}); export it with --quantize none."
            ) from None


DEFAULT = Precision()


def dequantized(matrix: Matrix) -> NDArray[np.float32]:
    """The [N, K] float32 matrix that a stored one stands for."""
    if isinstance(matrix, Blocks):
        return dequantize(matrix)
    if isinstance(matrix, Nf4):
        return dequantize_nf4(matrix)
    return matrix.astype(np.float32)
