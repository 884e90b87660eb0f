"""The decoder, node by node: a Llama-family language model from inputs_embeds to logits.

Operators: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx_ir as ir

from llava_edge.core.array_types import Floats
from llava_edge.core.bundle_config import DeviceName
from llava_edge.export.graphs.decoder_weights import DecoderWeights, Linear
from llava_edge.export.graphs.graph_writer import (
    INT8,
    INT32,
    INT64,
    MICROSOFT,
    Attribute,
    GraphWriter,
)
from llava_edge.export.graphs.linear import multiply
from llava_edge.export.layouts.text_config import TextConfig

_LINEAR = {  # what is multiplied with at once: the modules of a transformers layer
    "self_attn.qkv_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attn.o_proj": ("self_attn.o_proj",),
    "mlp.gate_up_proj": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.down_proj": ("mlp.down_proj",),
}
HEAD_DIM_MULTIPLE = 16  # what GroupQueryAttention with rotary embeddings asks of a head


def linear_layers(index: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The linear layers of a decoder layer: their names, and the modules that each joins."""
    for name, modules in _LINEAR.items():
        yield f"layers.{index}.{name}", modules


def write_decoder(
    config: TextConfig,
    weights: DecoderWeights,
    path: Path,
    device: DeviceName,
    cache_scales: Floats | None = None,
) -> None:
    """Write the decoder graph for a device, and its weights where they are not written yet.

    Inputs: inputs_embeds [B, S, D] float32; seqlens_k [B] and total_sequence_length [], the rows in
    the KV caches after the call, the first less one and the second of the longest; logit_positions
    [P]; past_key_values.N.key and .value [B, kv heads, L, head dim].  Outputs: logits [B, P, V]
    float32; present.N.key and .value, for which the caller binds the memory of the past ones. B is
    1 on a GPU. The cache is of the type that the device
    computes in, or with `cache_scales` [layers, 2, kv heads, head dim] of 8-bit integers, which are
    multiplied with those of their keys or values. A GPU's graph also says which token is likeliest:
    top_logit and top_id [1, P, 1].
    """
    decoder = _Decoder(config, weights, device, cache_scales)
    decoder.write()
    decoder.graph.save(path)


class _Decoder:
    """The graph in the making, and the values that every layer needs."""

    def __init__(
        self,
        config: TextConfig,
        weights: DecoderWeights,
        device: DeviceName,
        cache_scales: Floats | None,
    ) -> None:
        self._config = config
        self._weights = weights
        self._cache_scales = cache_scales
        self.graph = graph = GraphWriter("decoder", weights.file, device)
        # A GPU's runs are recorded, each for one conversation's memory.
        self._batch: int | str = 1 if device == "gpu" else "batch"
        shape = (self._batch, "sequence", config.hidden_size)
        self._embeds = graph.float_input("inputs_embeds", shape)
        self._lengths = (
            graph.input("seqlens_k", INT32, (self._batch,)),
            graph.input("total_sequence_length", INT32, ()),
        )
        self._positions = graph.input("logit_positions", INT64, ("logit_rows",))
        self._rotary = (
            graph.constant("rotary.cos", weights.cosines),
            graph.constant("rotary.sin", weights.sines),
        )

    def write(self) -> None:
        graph, config = self.graph, self._config
        residual, update, caches = self._embeds, None, []
        for layer in range(config.num_layers):
            name = f"layers.{layer}"
            rows, residual = self._norm(f"{name}.input_layernorm", residual, update)
            attended, *cache = self._attention(layer, rows)
            caches.append(cache)
            if layer == config.num_layers - 1:  # its keys and values are all that others need
                attended, residual = self._logit_rows(attended), self._logit_rows(residual)
            update = self._linear(layer, "self_attn.o_proj", attended, bias=config.output_bias)
            rows, residual = self._norm(f"{name}.post_attention_layernorm", residual, update)
            update = self._mlp(layer, rows)
        rows, _ = self._norm("norm", residual, update)
        logits = multiply(graph, "lm_head", rows, self._weights.head())
        if graph.device == "gpu":
            self._write_top(logits)
        graph.float_output(logits, "logits", (self._batch, "logit_rows", config.vocab_size))
        for layer, cache in enumerate(caches):
            for part, value in zip(("key", "value"), cache, strict=True):
                name = f"present.{layer}.{part}"
                graph.output(value, name, self._cache_shape, self._cache_type)

    def _write_top(self, logits: ir.Value) -> None:
        """Let a greedy choice cost a few bytes instead of all the logits."""
        graph, shape = self.graph, (1, "logit_rows", 1)
        values, ids = graph.nodes("TopK", ("top", "top_ids"), logits, graph.integers(1))
        graph.float_output(values, "top_logit", shape)
        graph.output(ids, "top_id", shape, INT64)

    def _logit_rows(self, rows: ir.Value) -> ir.Value:
        """Rows [1, S, K] -> [1, P, K], those that logits are asked for."""
        name = f"{rows.name}.logit_rows"
        return self.graph.node("Gather", name, rows, self._positions, attributes={"axis": 1})

    @property
    def _cache_type(self) -> ir.DataType:
        return self.graph.dtype if self._cache_scales is None else INT8

    @property
    def _cache_shape(self) -> tuple[int | str, ...]:
        return (self._batch, self._config.num_kv_heads, "cache_length", self._config.head_dim)

    def _attention(self, layer: int, rows: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Attention with rotary embedding and window inside -> what o_proj takes, keys, values."""
        graph, config, name = self.graph, self._config, f"layers.{layer}.self_attn"
        qkv = self._linear(layer, "self_attn.qkv_proj", rows, bias=config.qkv_bias)
        past = (
            graph.input(f"past_key_values.{layer}.{part}", self._cache_type, self._cache_shape)
            for part in ("key", "value")
        )
        rotary = self._rotary if config.rotary_layers[layer] else (None, None)
        attended, keys, values = graph.nodes(
            "GroupQueryAttention",
            (name, f"{name}.keys", f"{name}.values"),
            *(*self._normalized(name, qkv), *past, *self._lengths, *rotary, *self._scales(layer)),
            domain=MICROSOFT,
            attributes=self._attention_attributes(layer),
        )
        return attended, keys, values

    def _scales(self, layer: int) -> tuple[ir.Value | None, ...]:
        """What GroupQueryAttention takes last, where the cache is of integers."""
        if self._cache_scales is None:
            return ()
        scales = (
            self.graph.as_it_is(f"layers.{layer}.self_attn.{part}_scale", array[:, None])
            for part, array in zip(("key", "value"), self._cache_scales[layer], strict=True)
        )
        return None, None, None, *scales

    def _normalized(self, name: str, qkv: ir.Value) -> tuple[ir.Value | None, ...]:
        """What GroupQueryAttention takes as query, key and value; joined, all three are the query.

        Its own inputs for the norms of heads are not supported on CPU.
        """
        graph, config = self.graph, self._config
        if not config.qk_norm:
            return qkv, None, None
        queries, keys = (n * config.head_dim for n in (config.num_heads, config.num_kv_heads))
        names = (f"{name}.queries", f"{name}.unrotated_keys", f"{name}.new_values")
        sizes = graph.integers(queries, keys, keys)
        query, key, value = graph.nodes("Split", names, qkv, sizes, attributes={"axis": -1})
        return (
            self._head_norm(f"{name}.q_norm", query),
            self._head_norm(f"{name}.k_norm", key),
            value,
        )

    def _head_norm(self, name: str, rows: ir.Value) -> ir.Value:
        """Rows [1, S, heads * head dim], each head normalized."""
        graph, size = self.graph, self._config.head_dim
        heads = graph.node("Reshape", f"{name}.heads", rows, graph.integers(0, 0, -1, size))
        normalized = graph.node(
            "SimplifiedLayerNormalization",
            f"{name}.normalized",
            heads,
            self._norm_weight(name),
            attributes={"epsilon": self._config.rms_norm_eps},
        )
        return graph.node("Reshape", name, normalized, graph.integers(0, 0, -1))

    def _attention_attributes(self, layer: int) -> Mapping[str, Attribute]:
        config = self._config
        attributes: dict[str, Attribute] = {
            "num_heads": config.num_heads,
            "kv_num_heads": config.num_kv_heads,
            "do_rotary": int(config.rotary_layers[layer]),
        }
        if self._cache_scales is not None:
            kind = "PER_CHANNEL"
            attributes |= {"k_quant_type": kind, "v_quant_type": kind, "kv_cache_bit_width": 8}
        if config.windows[layer]:
            attributes["local_window_size"] = config.windows[layer]
        return attributes

    def _mlp(self, layer: int, rows: ir.Value) -> ir.Value:
        graph, size, bias = self.graph, self._config.intermediate_size, self._config.mlp_bias
        name = f"layers.{layer}.mlp"
        both = self._linear(layer, "mlp.gate_up_proj", rows, bias=bias)
        halves, sizes = (f"{name}.gate", f"{name}.up"), graph.integers(size, size)
        gate, up = graph.nodes("Split", halves, both, sizes, attributes={"axis": -1})
        sigmoid = graph.node("Sigmoid", f"{name}.sigmoid", gate)
        active = graph.node("Mul", f"{name}.silu", gate, sigmoid)
        product = graph.node("Mul", f"{name}.product", active, up)
        return self._linear(layer, "mlp.down_proj", product, bias=bias)

    def _norm(
        self, name: str, residual: ir.Value, update: ir.Value | None
    ) -> tuple[ir.Value, ir.Value]:
        """The residual with the update added: normalized, and as it is."""
        scale = self._norm_weight(name)
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

    def _norm_weight(self, name: str) -> ir.Value:
        return self.graph.constant(f"{name}.weight", lambda: self._weights.vector(f"{name}.weight"))

    def _linear(self, layer: int, name: str, rows: ir.Value, *, bias: bool) -> ir.Value:
        """The products of all the modules that are joined, whose outputs lie side by side."""
        modules = tuple(f"layers.{layer}.{module}" for module in _LINEAR[name])
        name = f"layers.{layer}.{name}"
        products = [
            multiply(self.graph, part.name, rows, part.matrix, self._bias(part) if bias else None)
            for part in self._weights.linear(name, modules)
        ]
        if len(products) == 1:
            return products[0]
        return self.graph.node("Concat", name, *products, attributes={"axis": -1})

    def _bias(self, part: Linear) -> ir.Value:
        names = [f"{module}.bias" for module in part.modules]
        return self.graph.constant(f"{part.name}.bias", lambda: self._weights.vector(*names))
