"""The decoder, node by node: a Llama-family language model from inputs_embeds to logits.

Operators: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from llava_edge.config import EmbeddingConfig
from llava_edge.export.checkpoint import LazyTensor, TextConfig
from llava_edge.export.graph import FLOAT, INT32, INT64, MICROSOFT, GraphWriter
from llava_edge.export.linear import StoredMatrix, multiply, store
from llava_edge.export.quantize import BLOCK, Bits
from llava_edge.export.weights import WeightFile

Precision = Literal["int4", "mixed", "fp32"]
HEAD_DIM_MULTIPLE = 16  # what GroupQueryAttention with rotary embeddings asks of a head
HEAD_BITS: dict[Precision, Bits | None] = {"int4": 8, "mixed": 8, "fp32": None}  # embedding's too


def write_decoder(
    config: TextConfig,
    tensors: Mapping[str, LazyTensor],
    weights: WeightFile,
    path: Path,
    precision: Precision,
) -> EmbeddingConfig:
    """Write the decoder graph and its weights; returns where the embedding table lies.

    Inputs: inputs_embeds [1, S, D]; seqlens_k [1] and total_sequence_length [], the rows in the KV
    cache after the call, the first less one; logit_positions [P]; past_key_values.N.key and .value
    [1, kv heads, L, head dim].  Outputs: logits [1, P, V]; present.N.key and .value, for which the
    caller binds the memory of the past ones.
    """
    table = tensors["language_model.embed_tokens.weight"].read()
    embedding = store(weights, table, HEAD_BITS[precision])
    del table
    decoder = _Decoder(config, tensors, weights, precision)
    decoder.write(embedding)
    decoder.graph.save(path)
    blocks = embedding.blocks
    if blocks is None:
        return EmbeddingConfig(32, BLOCK, embedding.data, None, None)
    return EmbeddingConfig(8, BLOCK, embedding.data, blocks.scales, blocks.zero_points)


def linear_bits(precision: Precision, name: str) -> Bits | None:
    """The bits of a linear layer; "mixed" keeps 4 for gate and up, half of all weights, alone."""
    if precision == "fp32":
        return None
    return 8 if precision == "mixed" and not name.endswith("gate_up_proj") else 4


class _Decoder:
    """The graph in the making, and the values that every layer needs."""

    def __init__(
        self,
        config: TextConfig,
        tensors: Mapping[str, LazyTensor],
        weights: WeightFile,
        precision: Precision,
    ) -> None:
        self._config = config
        self._tensors = tensors
        self._precision = precision
        self.graph = graph = GraphWriter("decoder", weights)
        self._embeds = graph.input("inputs_embeds", FLOAT, (1, "sequence", config.hidden_size))
        self._lengths = (
            graph.input("seqlens_k", INT32, (1,)),
            graph.input("total_sequence_length", INT32, ()),
        )
        self._positions = graph.input("logit_positions", INT64, ("logit_rows",))
        cos, sin = _rotary_tables(config)
        self._rotary = graph.constant("rotary.cos", cos), graph.constant("rotary.sin", sin)

    def write(self, embedding: StoredMatrix) -> None:
        graph, config = self.graph, self._config
        residual, update, caches = self._embeds, None, []
        for layer in range(config.num_layers):
            name = f"layers.{layer}"
            rows, residual = self._norm(f"{name}.input_layernorm", residual, update)
            update, *cache = self._attention(layer, rows)
            caches.append(cache)
            rows, residual = self._norm(f"{name}.post_attention_layernorm", residual, update)
            update = self._mlp(f"{name}.mlp", rows)
        rows, _ = self._norm("norm", residual, update)
        rows = graph.node("Gather", "logit_rows", rows, self._positions, attributes={"axis": 1})
        logits = self._head(rows, embedding)
        graph.output(logits, "logits", FLOAT, (1, "logit_rows", config.vocab_size))
        for layer, cache in enumerate(caches):
            for part, value in zip(("key", "value"), cache, strict=True):
                graph.output(value, f"present.{layer}.{part}", FLOAT, self._cache_shape)

    @property
    def _cache_shape(self) -> tuple[int | str, ...]:
        return (1, self._config.num_kv_heads, "cache_length", self._config.head_dim)

    def _attention(self, layer: int, rows: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Self-attention with the rotary embedding inside -> rows, keys, values."""
        graph, config, name = self.graph, self._config, f"layers.{layer}.self_attn"
        modules = tuple(f"{name}.{part}_proj" for part in "qkv")
        qkv = self._linear(f"{name}.qkv_proj", rows, modules, bias=config.attention_bias)
        past = (
            graph.input(f"past_key_values.{layer}.{part}", FLOAT, self._cache_shape)
            for part in ("key", "value")
        )
        attended, keys, values = graph.nodes(
            "GroupQueryAttention",
            (name, f"{name}.keys", f"{name}.values"),
            *(qkv, None, None, *past, *self._lengths, *self._rotary),
            domain=MICROSOFT,
            attributes={
                "num_heads": config.num_heads,
                "kv_num_heads": config.num_kv_heads,
                "do_rotary": 1,
            },
        )
        output = f"{name}.o_proj"
        return self._linear(output, attended, (output,), bias=config.attention_bias), keys, values

    def _mlp(self, name: str, rows: ir.Value) -> ir.Value:
        graph, size, bias = self.graph, self._config.intermediate_size, self._config.mlp_bias
        modules = (f"{name}.gate_proj", f"{name}.up_proj")
        both = self._linear(f"{name}.gate_up_proj", rows, modules, bias=bias)
        halves = graph.integers(size, size)
        gate, up = graph.nodes("Split", modules, both, halves, attributes={"axis": -1})
        sigmoid = graph.node("Sigmoid", f"{name}.sigmoid", gate)
        active = graph.node("Mul", f"{name}.silu", gate, sigmoid)
        product = graph.node("Mul", f"{name}.product", active, up)
        output = f"{name}.down_proj"
        return self._linear(output, product, (output,), bias=bias)

    def _norm(
        self, name: str, residual: ir.Value, update: ir.Value | None
    ) -> tuple[ir.Value, ir.Value]:
        """The residual with the update added: normalized, and as it is."""
        weight = self._read(f"{name}.weight").astype(np.float32)
        scale = self.graph.constant(f"{name}.weight", weight)
        epsilon = {"epsilon": self._config.rms_norm_eps}
        if update is None:
            operator = "SimplifiedLayerNormalization"
            return self.graph.node(operator, name, residual, scale, attributes=epsilon), residual
        normalized, _, _, total = self.graph.nodes(
            "SkipSimplifiedLayerNormalization",
            (name, "", "", f"{name}.residual"),
            *(residual, update, scale),
            domain=MICROSOFT,
            attributes=epsilon,
        )
        return normalized, total

    def _head(self, rows: ir.Value, embedding: StoredMatrix) -> ir.Value:
        if self._config.tied:
            return multiply(self.graph, "lm_head", rows, embedding)
        matrix = self._tensors["lm_head.weight"].read()
        head = store(self.graph.weights, matrix, HEAD_BITS[self._precision])
        return multiply(self.graph, "lm_head", rows, head)

    def _linear(
        self, name: str, rows: ir.Value, modules: tuple[str, ...], *, bias: bool
    ) -> ir.Value:
        """One product for all the modules, whose outputs lie side by side."""
        matrix = np.concatenate([self._read(f"{module}.weight") for module in modules])
        stored = store(self.graph.weights, matrix, linear_bits(self._precision, name))
        product = multiply(self.graph, name, rows, stored)
        if not bias:
            return product
        vector = np.concatenate([self._read(f"{module}.bias") for module in modules])
        addend = self.graph.constant(f"{name}.bias", vector.astype(np.float32))
        return self.graph.node("Add", f"{name}.biased", product, addend)

    def _read(self, name: str) -> NDArray[Any]:
        return self._tensors[f"language_model.{name}"].read()


def _rotary_tables(config: TextConfig) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosines and sines [context length, head dim / 2], rounded where transformers rounds."""
    exponents = np.arange(0, config.head_dim, 2, dtype=np.float32) / np.float32(config.head_dim)
    frequencies = 1 / np.float32(config.rope_theta) ** exponents
    angles = np.outer(np.arange(config.context_length, dtype=np.float32), frequencies)
    return np.cos(angles), np.sin(angles)
