"""Decoder: prefill, step and rewind over a KV cache that stays in place."""

import math
import mmap
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from llava_edge.config import DecoderConfig
from llava_edge.devices import Device, open_graph
from llava_edge.embedding import EmbeddingTable
from llava_edge.errors import BundleError, LlavaEdgeError, UsageError

if TYPE_CHECKING:
    import onnxruntime

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Call:
    """A binding for S rows and the logits after P of them, and the memory that it uses."""

    binding: "onnxruntime.IOBinding"
    inputs_embeds: Floats  # [1, S, D]
    logit_positions: Integers  # [P]
    logits: Floats  # [1, P, V]


class Decoder:
    """The language model of a bundle, fed with rows of inputs_embeds.

    The KV cache is one buffer [layers, 2, kv_heads, context, head_dim] which the graph reads as
    past and writes as present. Its pages are taken from the system as tokens come.
    Logits that are returned are overwritten by the next call.
    """

    def __init__(
        self, graph: Path, weights: Path, config: DecoderConfig, device: Device, *, context: int
    ) -> None:
        self.context = context
        self.length = 0  # tokens in the cache
        self._config = config
        self._embedding = EmbeddingTable(
            weights,
            config.embedding,
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
        )
        self._session = open_graph(graph, device, spin=True)
        self._check_graph(graph)
        self._kv = _allocate(config, context)
        self._seqlens_k = np.zeros(1, dtype=np.int32)
        self._total_sequence_length = np.zeros((), dtype=np.int32)
        self._step = self._bind(1, 1)

    def embed(self, ids: list[int]) -> Floats:
        """The language model's own rows [S, D] for ids."""
        return self._embedding.rows(ids)

    def prefill(self, inputs_embeds: Floats) -> Floats:
        """Append rows [S, D] to the cache; return the logits [V] after the last of them."""
        rows = len(inputs_embeds)
        call = self._step if rows == 1 else self._bind(rows, 1)
        logits: Floats = self._run(call, inputs_embeds, [rows - 1])[0]
        return logits

    def score(self, inputs_embeds: Floats, positions: Sequence[int]) -> Floats:
        """Append rows [S, D] to the cache; return the logits [P, V] after those at `positions`."""
        call = self._bind(len(inputs_embeds), len(positions))
        return self._run(call, inputs_embeds, positions)

    def step(self, id: int) -> Floats:
        """Append one token to the cache; return the logits [V] after it."""
        return self.prefill(self.embed([id]))

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens; what lies behind them is overwritten."""
        if not 0 <= length <= self.length:
            raise UsageError(
                f"The KV cache holds {self.length} tokens and cannot be rewound to {length}; "
                "give a length that it has had."
            )
        self.length = length

    def _run(self, call: _Call, inputs_embeds: Floats, positions: Sequence[int]) -> Floats:
        total = self.length + len(inputs_embeds)
        call.inputs_embeds[0] = inputs_embeds
        call.logit_positions[:] = positions
        self._seqlens_k[0] = total - 1
        self._total_sequence_length[...] = total
        self._session.run_with_iobinding(call.binding)
        self.length = total
        logits: Floats = call.logits[0]
        return logits

    def _bind(self, rows: int, logit_rows: int) -> _Call:
        config = self._config
        call = _Call(
            binding=self._session.io_binding(),
            inputs_embeds=np.empty((1, rows, config.hidden_size), dtype=np.float32),
            logit_positions=np.empty(logit_rows, dtype=np.int64),
            logits=np.empty((1, logit_rows, config.vocab_size), dtype=np.float32),
        )
        inputs: dict[str, npt.NDArray[np.generic]] = {
            "inputs_embeds": call.inputs_embeds,
            "seqlens_k": self._seqlens_k,
            "total_sequence_length": self._total_sequence_length,
            "logit_positions": call.logit_positions,
            **{f"past_key_values.{name}": tensor for name, tensor in self._layers()},
        }
        outputs = {
            "logits": call.logits,
            **{f"present.{name}": tensor for name, tensor in self._layers()},
        }
        for name, array in inputs.items():
            call.binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in outputs.items():
            call.binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        return call

    def _layers(self) -> Iterator[tuple[str, Floats]]:
        for layer in range(self._config.num_layers):
            for half, name in enumerate(("key", "value")):
                yield f"{layer}.{name}", self._kv[layer, half][None]  # [1, kv_heads, L, head_dim]

    def _check_graph(self, graph: Path) -> None:
        """The graph must have the shapes of bundle.json, since it is handed bare memory."""
        config = self._config
        cache = (config.num_kv_heads, config.head_dim)
        expected = {
            "inputs_embeds": (config.hidden_size,),
            "logits": (config.vocab_size,),
            **{
                f"{kind}.{layer}.{half}": cache
                for kind in ("past_key_values", "present")
                for layer in range(config.num_layers)
                for half in ("key", "value")
            },
        }
        found = {
            node.name: tuple(node.shape[1::2] if len(node.shape) == 4 else node.shape[2:])
            for node in (*self._session.get_inputs(), *self._session.get_outputs())
            if len(node.shape) > 1
        }
        if found != expected:
            names = sorted(name for name, _ in set(found.items()) ^ set(expected.items()))
            raise BundleError(
                f"The graph {graph} and its bundle.json differ in {names[0]}; "
                "export the bundle again."
            )


def _allocate(config: DecoderConfig, context: int) -> Floats:
    """Zeroed memory that the system hands out page by page, as the cache fills."""
    shape = (config.num_layers, 2, config.num_kv_heads, context, config.head_dim)
    size = 4 * math.prod(shape)
    try:
        memory = mmap.mmap(-1, size)
    except (OSError, OverflowError) as error:
        raise LlavaEdgeError(
            f"A KV cache for {context:,} tokens takes {size / 2**30:.1f} GiB, which this machine "
            "does not give; load the bundle with a smaller context."
        ) from error
    if sys.platform == "linux":  # a huge page would hand out a head's memory at once
        with suppress(OSError):  # a kernel without huge pages
            memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, dtype=np.float32).reshape(shape)
