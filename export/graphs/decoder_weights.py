"""The decoder's weights, read, quantized and appended to `weights.bin` when a graph asks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mode
from typing import Literal

import numpy as np

from llava_edge.core.bundle_config import (
    EmbeddingConfig,
    QuantizationConfig,
    QuantizedBefore,
    TensorRef,
)
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.graphs.linear import StoredBlocks, StoredMatrix, store
from llava_edge.export.graphs.rotary import rotary_angles
from llava_edge.export.graphs.weights_bin import Array, WeightsBin, dtype_of
from llava_edge.export.layouts.text_config import TextConfig
from llava_edge.export.quantization.blocks import Blocks, join, pad_rows, split_blocks
from llava_edge.export.quantization.precision import Matrix, Precision, TableBits

TABLE_ROWS = 64  # a multiple of them, or CUDA unpacks the whole head anew for every token
CUDA_BLOCK = 32  # the one block size that CUDA's fastest kernel takes
_EMBEDDING = "language_model.embed_tokens.weight"


@dataclass(frozen=True)
class Linear:
    """One product of a layer: the matrices of its modules below each other."""

    name: str
    modules: tuple[str, ...]
    matrix: StoredMatrix


class DecoderWeights:
    """The decoder's weights by name; each is made once, when it is first asked for."""

    def __init__(
        self,
        config: TextConfig,
        tensors: Mapping[str, LazyTensor],
        file: WeightsBin,
        precision: Precision,
    ) -> None:
        self.file = file
        self._config = config
        self._tensors = tensors
        self._precision = precision
        self._linears: list[Linear] = []

    def linear(self, name: str, modules: Sequence[str]) -> list[Linear]:
        """One product for all the modules, or one for each where their formats differ."""
        return self.file.once(name, lambda: self._store_linear(name, modules))

    def head(self) -> StoredMatrix:
        """The language model's head; tied and of equal bits, it is the embedding's bytes."""
        bits = self._precision.head_bits
        if self._config.tied and bits == self._precision.embedding_bits:
            return self._embedding()
        tensor = _EMBEDDING if self._config.tied else "lm_head.weight"
        return self.file.once("lm_head", lambda: self._store_table(tensor, bits))

    def embedding(self) -> EmbeddingConfig:
        """Where the embedding table lies, for the host, which gathers its rows."""
        parts = self._embedding().parts
        if isinstance(parts, StoredBlocks):
            data, scales = (self._words(part) for part in (parts.data, parts.scales))
            bits: Literal[4, 8] = 4 if parts.bits == 4 else 8
            return EmbeddingConfig(bits, parts.block_size, data, scales, parts.zero_points)
        assert isinstance(parts, TensorRef)
        half = dtype_of(parts).itemsize == 2
        return EmbeddingConfig(16 if half else 32, 1, parts, None, None)

    def quantization(self, imported: QuantizedBefore | None) -> QuantizationConfig:
        """How what was given out is stored; `imported` if the checkpoint was quantized before."""
        bits = min(linear.matrix.bits for linear in self._linears)
        fewest = [linear.matrix for linear in self._linears if linear.matrix.bits == bits]
        block_size = mode(matrix.block_size for matrix in fewest)
        matrices = {id(m): m for m in (self._embedding(), self.head())}.values()
        every = [*(linear.matrix for linear in self._linears), *matrices]
        count = sum(matrix.rows * matrix.columns for matrix in every)
        return QuantizationConfig(
            method=imported or self._precision.method,
            bits=bits,
            block_size=block_size,
            head_bits=self.head().bits,
            embedding_bits=self._embedding().bits,
            tower=self._precision.tower,
            weights=count,
            bits_per_weight=round(8 * sum(matrix.size for matrix in every) / count, 3),
            eight_bit_layers=tuple(
                linear.name for linear in self._linears if bits < 8 == linear.matrix.bits
            ),
        )

    def vector(self, *names: str) -> Array:
        """Norms' weights or biases, one after the other, as float32."""
        return np.concatenate([self._read(name) for name in names]).astype(np.float32)

    def cosines(self) -> Array:
        return np.cos(rotary_angles(self._config))

    def sines(self) -> Array:
        return np.sin(rotary_angles(self._config))

    def _embedding(self) -> StoredMatrix:
        bits = self._precision.embedding_bits
        return self.file.once("embed_tokens", lambda: self._store_table(_EMBEDDING, bits))

    def _store_table(self, tensor: str, bits: TableBits | None) -> StoredMatrix:
        lazy = self._tensors[tensor]
        read = self._precision.table
        table: Matrix = lazy.blocks() if lazy.blocks else read(tensor, lazy.read(), bits)
        table = self._fit(table)
        if isinstance(table, Blocks):
            table = pad_rows(table, TABLE_ROWS)
        return replace(store(self.file, table), rows=lazy.shape[0])

    def _words(self, table: TensorRef) -> TensorRef:
        """The table without the rows that only fill it up."""
        return replace(table, shape=(self._config.vocab_size, *table.shape[1:]))

    def _fit(self, matrix: Matrix) -> Matrix:
        """Imported blocks, cut to what CUDA's fastest kernel takes where they are meant for it."""
        if self._precision.symmetric and isinstance(matrix, Blocks):
            return split_blocks(matrix, CUDA_BLOCK)
        return matrix

    def _store_linear(self, name: str, modules: Sequence[str]) -> list[Linear]:
        lazy = [self._tensors[f"language_model.{module}.weight"] for module in modules]
        if not any(tensor.blocks for tensor in lazy):
            matrix = np.concatenate([tensor.read() for tensor in lazy])
            return [self._linear(name, modules, self._precision.linear(name, matrix))]
        parts = [
            self._fit(tensor.blocks())
            if tensor.blocks
            else self._precision.linear(name, tensor.read())
            for tensor in lazy
        ]
        blocks = [part for part in parts if isinstance(part, Blocks)]
        if len(blocks) == len(parts) and len({part.format for part in blocks}) == 1:
            return [self._linear(name, modules, join(blocks))]
        return [
            self._linear(module, (module,), part)
            for module, part in zip(modules, parts, strict=True)
        ]

    def _linear(self, name: str, modules: Sequence[str], matrix: Matrix) -> Linear:
        linear = Linear(name, tuple(modules), store(self.file, matrix))
        self._linears.append(linear)
        return linear

    def _read(self, name: str) -> Array:
        return self._tensors[f"language_model.{name}"].read()
