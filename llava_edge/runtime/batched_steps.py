"""BatchedSteps: the next tokens of several answers, for which the weights are read only once."""

import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Condition
from weakref import WeakValueDictionary

import numpy.typing as npt

from llava_edge.core.array_types import Floats
from llava_edge.core.bundle_config import DecoderConfig
from llava_edge.errors import DeviceError
from llava_edge.runtime.decoder_call import DecoderCall
from llava_edge.runtime.devices.call_queue import CallQueue
from llava_edge.runtime.devices.device_memory import compute, run_options
from llava_edge.runtime.devices.onnx_session import OpenGraph
from llava_edge.runtime.interrupt import Interrupt, Interrupted
from llava_edge.runtime.kv_cache import CacheShape, HostKVCache, reserve

PATIENCE = 0.005  # seconds that the answers of the last batch are waited for
GAP = 1  # slots between two answers that are computed for nothing, since another run costs more


@dataclass(eq=False)
class _Wish:
    """An answer's row, and in the end the logits after it or why there are none."""

    cache: HostKVCache
    slot: int
    row: Floats  # [1, D]
    interrupt: Interrupt | None
    logits: Floats | None = None  # [V]
    error: Exception | None = None

    @property
    def settled(self) -> bool:
        return self.logits is not None or self.error is not None

    @property
    def given_up(self) -> bool:
        return self.interrupt is not None and self.interrupt.reason is not None


class BatchedSteps:
    """KV caches side by side in one memory, and steps of the answers that have one of them.

    Answers that ask at about the same time are computed in one run of the graph. A slot between two
    others is computed for nothing, and written to behind what it holds. `shape` is that of a cache.
    """

    def __init__(
        self,
        graph: OpenGraph,
        shape: CacheShape,
        dtype: npt.DTypeLike,
        *,
        slots: int,
        config: DecoderConfig,
        queue: CallQueue,
    ) -> None:
        layers, halves, heads, context, head_dim = shape
        self._graph = graph
        self._shape = shape
        self._config = config
        self._queue = queue
        self._form = (layers, halves, slots, heads, context, head_dim), dtype
        self._memory = reserve(*self._form)
        self._free = set(range(slots))
        self._caches: WeakValueDictionary[int, HostKVCache] = WeakValueDictionary()
        self._batches: dict[tuple[int, int], DecoderCall] = {}
        self._arrived = Condition()
        self._wishes: list[_Wish] = []
        self._expected: set[int] = set()  # the slots of the last batch

    def new_cache(self) -> HostKVCache | None:
        """An empty cache in a slot; None where all are taken."""
        with self._arrived:
            if not self._free:
                return None
            slot = min(self._free)
            self._free.remove(slot)
            cache = HostKVCache(self._shape, self._memory[:, :, slot], slot)
            self._caches[slot] = cache
        weakref.finalize(cache, self._free.add, slot)
        return cache

    def shrink(self) -> None:
        """Give the memory back where no cache has a slot; no step may be made meanwhile."""
        with self._arrived:
            if len(self._free) == self._form[0][2]:
                self._batches.clear()
                self._memory = reserve(*self._form)

    def close(self) -> None:
        """Give the memory back; no step may be made any more."""
        with self._arrived:
            self._batches.clear()
            self._memory = self._memory[:0].copy()
            self._free.clear()

    def step(self, cache: HostKVCache, row: Floats, interrupt: Interrupt | None) -> Floats:
        """Append a row [1, D] to a cache of this memory -> the logits [V] after it.

        Raises Interrupted, and leaves the cache as it was, where the answer has been ended.
        """
        assert cache.slot is not None
        wish = _Wish(cache, cache.slot, row, interrupt)

        def check() -> None:
            """Leave the queue, unless another answer's run computes this row already."""
            with self._arrived:
                if interrupt is not None and wish in self._wishes:
                    interrupt.check()

        with self._arrived:
            self._wishes.append(wish)
            self._arrived.notify_all()
        try:
            while not wish.settled:
                self._queue.run(lambda: self._serve(wish), check)
        finally:
            with self._arrived:
                self._wishes = [other for other in self._wishes if other is not wish]
        if wish.error is not None:
            raise wish.error
        assert wish.logits is not None
        return wish.logits

    def _serve(self, wish: _Wish) -> None:
        """Compute all that is wished for, unless another answer has done so for this one."""
        if wish.settled:
            return
        self._await_others()
        with self._arrived:
            wishes, self._wishes = self._wishes, []
        for ended in (each for each in wishes if each.given_up):
            ended.error = Interrupted()
        going_on = [each for each in wishes if not each.settled]
        self._expected = {each.slot for each in going_on}
        for neighbours in self._neighbours(going_on):
            self._run(neighbours)
        with self._arrived:
            self._wishes += [each for each in going_on if not each.settled]

    def _await_others(self) -> None:
        """Wait a little for the answers that were computed last: each still chooses its token."""
        end = time.perf_counter() + PATIENCE
        with self._arrived:
            while self._expected - {wish.slot for wish in self._wishes}:
                if not self._arrived.wait(max(end - time.perf_counter(), 0)):
                    return

    def _neighbours(self, wishes: Sequence[_Wish]) -> Iterator[list[_Wish]]:
        """The wishes in groups whose slots lie side by side, or nearly so."""
        group: list[_Wish] = []
        for wish in sorted(wishes, key=lambda wish: wish.slot):
            between = range(group[-1].slot + 1, wish.slot) if group else range(0)
            if len(between) > GAP or any(map(self._is_full, between)):
                yield group
                group = []
            group.append(wish)
        if group:
            yield group

    def _is_full(self, slot: int) -> bool:
        """Whether there is no place behind what a slot holds."""
        return self._length(slot) == self._shape[3]

    def _length(self, slot: int) -> int:
        cache = self._caches.get(slot)
        return 0 if cache is None else cache.length

    def _run(self, wishes: Sequence[_Wish]) -> None:
        """One run; where one of the answers is ended meanwhile, the others stay unsettled."""
        first, last = wishes[0].slot, wishes[-1].slot
        batch = self._batch(first, last - first + 1)
        lengths = [self._length(slot) for slot in range(first, last + 1)]
        batch.seqlens_k[:] = lengths
        batch.total_sequence_length[...] = max(lengths) + 1
        for wish in wishes:
            batch.inputs_embeds[wish.slot - first] = wish.row
        options = run_options()
        with ExitStack() as stack:
            for interrupt in filter(None, (wish.interrupt for wish in wishes)):
                stack.enter_context(interrupt.ending(options))
            try:
                compute(lambda: self._graph.session.run_with_iobinding(batch.binding, options))
            except DeviceError as error:
                if not any(wish.given_up for wish in wishes):
                    for wish in wishes:
                        wish.error = error
                return
        for wish in wishes:
            wish.cache.length += 1
            wish.logits = batch.logits[wish.slot - first, 0].copy()  # [V]

    def _batch(self, first: int, slots: int) -> DecoderCall:
        """The memory for neighbouring slots, made and bound once."""
        if (first, slots) not in self._batches:
            binding = self._graph.session.io_binding()
            batch = DecoderCall.new(binding, self._config, slots, 1, 1)
            batch.bind(self._memory[:, :, first : first + slots])
            self._batches[first, slots] = batch
        return self._batches[first, slots]
