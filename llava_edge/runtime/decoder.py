"""Decoder: the language model of a bundle, from rows of inputs_embeds to logits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import numpy.typing as npt

from llava_edge.core.array_types import Floats
from llava_edge.core.bundle_config import DecoderConfig
from llava_edge.runtime.batched_steps import BatchedSteps
from llava_edge.runtime.decoder_call import DecoderCall, check_decoder_graph
from llava_edge.runtime.devices.call_queue import CallersThread, CallQueue
from llava_edge.runtime.devices.device import Device
from llava_edge.runtime.devices.device_kv_caches import Slot, Slots
from llava_edge.runtime.devices.device_memory import compute, run_options
from llava_edge.runtime.devices.fair_lock import nothing
from llava_edge.runtime.devices.onnx_session import OpenGraph, open_graph
from llava_edge.runtime.embedding_table import EmbeddingTable
from llava_edge.runtime.interrupt import Interrupt, Interrupted
from llava_edge.runtime.kv_cache import (
    CacheNumbers,
    CacheShape,
    HostKVCache,
    KVCache,
    cache_shape,
    reserve,
)

T = TypeVar("T")
KEPT_ROWS = 16  # a call of more rows is rare, and its binding is cheap beside it


@dataclass(frozen=True)
class Top:
    """The likeliest id after what was read, and its logit."""

    id: int
    logit: float


class Decoder:
    """The decoder graph, which reads rows into any of its KV caches, one call at a time.

    `queue` is the one of all that runs on a GPU; a CPU's decoder has its own. `limit` is the most
    bytes that runs may take on a GPU beside the weights. On a CPU, the next tokens of up to
    `parallel` answers are computed together.
    """

    def __init__(
        self,
        graph: Path,
        weights: Path,
        config: DecoderConfig,
        device: Device,
        *,
        context: int,
        parallel: int = 1,
        queue: CallQueue | None = None,
        limit: int | None = None,
    ) -> None:
        self.context = context  # the most tokens that a cache holds
        self.chunk = device.chunk  # the most that are to be read at once
        self.vocab_size = config.vocab_size
        self._config = config
        self._device = device
        self._embedding = EmbeddingTable(
            weights,
            config.embedding,
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
        )
        self._queue = queue or CallersThread()
        session = self._queue.run(lambda: open_graph(graph, device, often=True, limit=limit))
        check_decoder_graph(graph, session, config, device)
        self._graph = OpenGraph(session)
        self._options = run_options()
        self._calls: WeakKeyDictionary[KVCache, dict[tuple[int, int], DecoderCall]] = (
            WeakKeyDictionary()
        )
        self._caches: WeakSet[KVCache] = WeakSet()
        self._batched = self._batched_steps(parallel)
        self._slots: Slots | None = None
        if device.separate:
            self._slots = Slots(self._graph.session, config, device, context)
            self._warm_up()

    @property
    def not_recorded(self) -> str:
        """Why a token's run is no CUDA graph, where it should be one."""
        return "" if self._slots is None else self._slots.failure

    def embed(self, ids: Sequence[int]) -> Floats:
        """The language model's own rows [S, D] for ids."""
        self._graph.check()
        return self._embedding.rows(ids)

    def new_cache(self) -> KVCache:
        """An empty KV cache; it may be kept, rewound and continued as long as the decoder lives.

        Raises UsageError where the decoder is closed.
        """
        cache = self._new_cache()
        self._caches.add(cache)
        return cache

    def shrink(self) -> None:
        """Give back what a CPU's runs keep for the next ones; takes the time of two tokens."""
        if self._device.separate:
            return
        interrupt = Interrupt()  # https://onnxruntime.ai/docs/get-started/with-c.html
        interrupt.run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        rows = np.zeros((2, self._config.hidden_size), np.float32)
        self.read(self.new_cache(), rows, interrupt=interrupt)
        if self._batched is not None:
            self._queue.run(self._batched.shrink)

    def close(self) -> None:
        """Give all memory back, that of the caches too; no call may be made meanwhile."""

        def release() -> None:
            self._calls.clear()
            for cache in list(self._caches):
                cache.release()
            if self._slots is not None:
                self._slots.close()
                self._slots = None
            if self._batched is not None:
                self._batched.close()
            self._graph.close()
            self._embedding.close()

        self._queue.run(release)

    def numbers(self, cache: KVCache) -> CacheNumbers:
        """What a cache holds: see KVCache.numbers."""
        return self._queue.run(lambda: compute(cache.numbers))

    def restore(self, cache: KVCache, numbers: CacheNumbers) -> None:
        """Hold what another cache for this decoder held."""
        self._queue.run(lambda: compute(lambda: cache.restore(numbers)))

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
        if self._slots is not None:
            return self._append(self._slots.of(cache), cache, id, interrupt, Slot.logits)
        if self._batched is not None and isinstance(cache, HostKVCache) and cache.slot is not None:
            return self._batched.step(cache, self.embed([id]), interrupt)
        logits: Floats = self._read(cache, self.embed([id]), 1, (0,), interrupt)[0]
        return logits

    def top(self, cache: KVCache, id: int, interrupt: Interrupt | None = None) -> Top:
        """Append one id, alone -> the likeliest after it, which a GPU chooses itself."""
        if self._slots is not None:
            slot = self._slots.of(cache)
            return Top(*self._append(slot, cache, id, interrupt, Slot.top))
        logits = self.step(cache, id, interrupt)
        likeliest = int(logits.argmax())
        return Top(likeliest, float(logits[likeliest]))

    def _new_cache(self) -> KVCache:
        if self._slots is not None:
            make = self._slots.new_cache
            return self._queue.run(lambda: compute(make))
        self._graph.check()
        if self._batched is not None and (cache := self._batched.new_cache()) is not None:
            return cache
        shape, dtype = self._cache_form()
        return HostKVCache(shape, reserve(shape, dtype))

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
        call.fill(rows, positions, cache.length)
        check = nothing if interrupt is None else interrupt.check
        self._queue.run(lambda: self._run(call, cache, len(rows), interrupt), check)
        logits: Floats = call.logits[0]
        return logits

    def _run(
        self, call: DecoderCall, cache: KVCache, rows: int, interrupt: Interrupt | None
    ) -> None:
        if self._device.separate:
            compute(lambda: call.bind(cache))
        if interrupt is None:
            compute(lambda: self._graph.session.run_with_iobinding(call.binding, self._options))
        else:
            options = interrupt.run_options
            interrupt.compute(lambda: self._graph.session.run_with_iobinding(call.binding, options))
        cache.length += rows  # now, before another run looks at it

    def _append(
        self,
        slot: Slot,
        cache: KVCache,
        id: int,
        interrupt: Interrupt | None,
        ask: Callable[[Slot], T],
    ) -> T:
        """Append one id where the cache has memory of its own, and ask what is wanted of it."""
        row = self.embed([id])

        def call() -> T:
            if interrupt is not None and interrupt.reason is not None:  # which no replay looks at
                raise Interrupted
            compute(lambda: slot.append(row, cache.length))
            return compute(lambda: ask(slot))

        result = self._queue.run(call, nothing if interrupt is None else interrupt.check)
        cache.length += 1
        return result

    def _batched_steps(self, parallel: int) -> BatchedSteps | None:
        """None where there is nothing to compute together, or the graph takes one answer alone."""
        batch = next(
            i.shape[0] for i in self._graph.session.get_inputs() if i.name == "inputs_embeds"
        )
        if parallel == 1 or self._device.separate or not isinstance(batch, str):
            return None
        shape, dtype = self._cache_form()
        return BatchedSteps(
            self._graph,
            shape,
            dtype,
            slots=parallel,
            config=self._config,
            queue=self._queue,
        )

    def _cache_form(self) -> tuple[CacheShape, npt.DTypeLike]:
        """A cache's shape and the type of its numbers."""
        config = self._config
        return cache_shape(config, self.context), config.cache_type(self._device.graph)

    def _warm_up(self) -> None:
        """Record a token's run, and take the memory of a whole chunk before smaller ones come."""
        cache = self.new_cache()
        rows = min(self.chunk, self.context - 1)
        self.read(cache, np.zeros((rows, self._config.hidden_size), np.float32))

    def _call(self, cache: KVCache, rows: int, logit_rows: int) -> DecoderCall:
        """The memory for a cache and these sizes, bound and kept where it will be wanted again."""
        if self._device.separate:
            return self._new_call(rows, logit_rows)
        kept = self._calls.setdefault(cache, {})
        if (rows, logit_rows) in kept:
            return kept[rows, logit_rows]
        call = self._new_call(rows, logit_rows)
        call.bind(cache)
        if rows <= KEPT_ROWS:
            kept[rows, logit_rows] = call
        return call

    def _new_call(self, rows: int, logit_rows: int) -> DecoderCall:
        binding = self._graph.session.io_binding()
        return DecoderCall.new(binding, self._config, 1, rows, logit_rows)


def _paired(positions: Sequence[int]) -> Sequence[int]:
    """The same, the last one twice where their number is odd."""
    return (*positions, positions[-1]) if len(positions) % 2 else positions
