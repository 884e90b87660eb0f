"""Decoder: the language model of a bundle, from rows of inputs_embeds to logits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from llava_edge.config import DecoderConfig
from llava_edge.devices import Device, open_graph
from llava_edge.embedding import EmbeddingTable
from llava_edge.errors import BundleError
from llava_edge.fair_lock import FairLock
from llava_edge.interrupt import Interrupt, Interrupted
from llava_edge.kv_cache import KVCache, new_cache

if TYPE_CHECKING:
    import onnxruntime

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

KEPT_ROWS = 16  # a call of more rows is rare, and its binding is cheap beside it


@dataclass(frozen=True)
class _Call:
    """A binding for S rows and the logits after P of them, and the memory that it uses."""

    binding: "onnxruntime.IOBinding"
    inputs_embeds: Floats  # [1, S, D]
    seqlens_k: npt.NDArray[np.int32]  # [1]
    total_sequence_length: npt.NDArray[np.int32]  # []
    logit_positions: Integers  # [P]
    logits: Floats  # [1, P, V]


class Decoder:
    """The decoder graph, which reads rows into any of its KV caches, one call at a time."""

    def __init__(
        self, graph: Path, weights: Path, config: DecoderConfig, device: Device, *, context: int
    ) -> None:
        self.context = context  # the most tokens that a cache holds
        self._config = config
        self._device = device
        self._embedding = EmbeddingTable(
            weights,
            config.embedding,
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
        )
        self._session = open_graph(graph, device, often=True)
        self._check_graph(graph)
        self._turn = FairLock()
        self._calls: WeakKeyDictionary[KVCache, dict[tuple[int, int], _Call]] = WeakKeyDictionary()

    def embed(self, ids: Sequence[int]) -> Floats:
        """The language model's own rows [S, D] for ids."""
        return self._embedding.rows(ids)

    def new_cache(self) -> KVCache:
        """An empty KV cache; it may be kept, rewound and continued as long as the decoder lives."""
        return new_cache(self._config, self.context, self._device)

    def read(
        self,
        cache: KVCache,
        rows: Floats,
        positions: Sequence[int] | None = None,
        interrupt: Interrupt | None = None,
    ) -> Floats:
        """Append rows [S, D] to a cache -> the logits [P, V] after those at `positions`.

        By default after the last one. They are overwritten by the next call with this cache.
        Rows and positions are computed in pairs, where the context has room for it: MatMulNBits
        computes a lone row, and on some processors the last of an odd number, by another kernel,
        which rounds differently. In pairs a row's result is the same bits whatever is read with
        it, so that neither what was asked before nor how a prompt is cut in chunks changes it.
        Raises Interrupted, and leaves the cache as it was, where the answer has been ended.
        """
        positions = (len(rows) - 1,) if positions is None else positions
        odd = len(rows) % 2 if cache.length + len(rows) < self.context else 0
        logits = self._read(cache, rows, len(rows) + odd, _paired(positions), interrupt)
        return logits[: len(positions)]

    def step(self, cache: KVCache, id: int, interrupt: Interrupt | None = None) -> Floats:
        """Append one id, alone -> the logits [V] after it; else as `read`."""
        logits: Floats = self._read(cache, self.embed([id]), 1, (0,), interrupt)[0]
        return logits

    def _read(
        self,
        cache: KVCache,
        rows: Floats,
        size: int,
        positions: Sequence[int],
        interrupt: Interrupt | None,
    ) -> Floats:
        """Append rows, and up to `size` others of anything, which later rows overwrite."""
        call = self._call(cache, size, len(positions))
        call.inputs_embeds[0, : len(rows)] = rows
        call.logit_positions[:] = positions
        call.seqlens_k[0] = cache.length + size - 1
        call.total_sequence_length[...] = cache.length + size
        with self._turn:
            self._run(call.binding, interrupt)
        cache.length += len(rows)
        logits: Floats = call.logits[0]
        return logits

    def _run(self, binding: "onnxruntime.IOBinding", interrupt: Interrupt | None) -> None:
        if interrupt is None:
            self._session.run_with_iobinding(binding)
            return
        try:
            self._session.run_with_iobinding(binding, interrupt.run_options)
        except Exception as error:  # onnxruntime's errors share no narrower base
            if interrupt.reason is None:
                raise
            raise Interrupted from error

    def _call(self, cache: KVCache, rows: int, logit_rows: int) -> _Call:
        """The binding for a cache and these sizes, kept where it will be wanted again."""
        kept = self._calls.setdefault(cache, {})
        if (rows, logit_rows) in kept:
            return kept[rows, logit_rows]
        call = self._bind(cache, rows, logit_rows)
        if rows <= KEPT_ROWS:
            kept[rows, logit_rows] = call
        return call

    def _bind(self, cache: KVCache, rows: int, logit_rows: int) -> _Call:
        config = self._config
        call = _Call(
            binding=self._session.io_binding(),
            inputs_embeds=np.zeros((1, rows, config.hidden_size), dtype=np.float32),
            seqlens_k=np.empty(1, dtype=np.int32),
            total_sequence_length=np.empty((), dtype=np.int32),
            logit_positions=np.empty(logit_rows, dtype=np.int64),
            logits=np.empty((1, logit_rows, config.vocab_size), dtype=np.float32),
        )
        inputs: dict[str, npt.NDArray[np.generic]] = {
            "inputs_embeds": call.inputs_embeds,
            "seqlens_k": call.seqlens_k,
            "total_sequence_length": call.total_sequence_length,
            "logit_positions": call.logit_positions,
        }
        for name, array in inputs.items():
            call.binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        logits = call.logits
        call.binding.bind_output("logits", "cpu", 0, np.float32, logits.shape, logits.ctypes.data)
        cache.bind(call.binding)
        return call

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


def _paired(positions: Sequence[int]) -> Sequence[int]:
    """The same, the last one twice where their number is odd."""
    return (*positions, positions[-1]) if len(positions) % 2 else positions
