"""The KV caches of a decoder in a device's memory, each with the run that appends a token to it."""

import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from llava_edge.core.array_types import Floats
from llava_edge.core.bundle_config import DecoderConfig
from llava_edge.runtime.devices.device import Device
from llava_edge.runtime.devices.device_memory import DeviceTensor, FixedRun
from llava_edge.runtime.kv_cache import CacheMemory, DeviceKVCache, KVCache, cache_shape

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True)
class Slot:
    """Memory for a KV cache, and the run of one row over it."""

    memory: CacheMemory
    step: FixedRun

    def append(self, row: Floats, length: int) -> None:
        """Read one row [1, D] after `length` others."""
        self.step.inputs["inputs_embeds"].write(row[None])
        self.step.inputs["seqlens_k"].write(np.array([length], np.int32))
        self.step()

    def logits(self) -> Floats:
        """[V], after the row that was read last."""
        logits: Floats = self.step.outputs["logits"].read()[0, 0]
        return logits

    def top(self) -> tuple[int, float]:
        """The likeliest id and its logit, chosen by the device."""
        outputs = self.step.outputs
        return int(outputs["top_id"].read()[0, 0, 0]), float(outputs["top_logit"].read()[0, 0, 0])


@dataclass(frozen=True)
class _Lent:
    slot: Slot
    comes_back: "weakref.finalize[[Slot], KVCache]"  # when the cache has gone


class Slots:
    """Lends slots to caches.

    A recorded CUDA graph is of fixed memory and is never freed, so neither are slots: what a cache
    leaves behind, the next one takes.
    """

    def __init__(
        self,
        session: "onnxruntime.InferenceSession",
        config: DecoderConfig,
        device: Device,
        context: int,
    ) -> None:
        self._session = session
        self._config = config
        self._device = device
        self._context = context
        self._made = 0
        self.failure = ""  # why a token's run could not be recorded
        self._free: deque[Slot] = deque()
        self._lent: weakref.WeakKeyDictionary[KVCache, _Lent] = weakref.WeakKeyDictionary()

    def new_cache(self) -> KVCache:
        """An empty cache, in memory that is free or new."""
        slot = self._free.pop() if self._free else self._make()
        cache = DeviceKVCache(slot.memory)
        self._lent[cache] = _Lent(slot, weakref.finalize(cache, self._free.append, slot))
        return cache

    def of(self, cache: KVCache) -> Slot:
        """The slot that a cache has."""
        return self._lent[cache].slot

    def close(self) -> None:
        """Let go of the memory, also of what is lent."""
        for lent in list(self._lent.values()):
            lent.comes_back.detach()
        self._lent.clear()
        self._free.clear()

    def _make(self) -> Slot:
        config, context = self._config, self._context
        dtype = config.cache_type(self._device.graph)
        memory = CacheMemory(self._session, self._device, cache_shape(config, context), dtype)
        self._made += 1
        step = FixedRun(
            self._session,
            self._device,
            {
                "inputs_embeds": self._tensor((1, 1, config.hidden_size), np.float32),
                "seqlens_k": self._tensor((1,), np.int32),
                "logit_positions": self._tensor((1,), np.int64),
                **memory.named("past_key_values"),
            },
            {
                "logits": self._tensor((1, 1, config.vocab_size), np.float32),
                "top_logit": self._tensor((1, 1, 1), np.float32),
                "top_id": self._tensor((1, 1, 1), np.int64),
                **memory.named("present"),
            },
            graph_id=self._made,
            # A replay does not read it again; how far attention goes is seqlens_k's to say.
            host={"total_sequence_length": np.array(context, np.int32)},
        )
        self.failure = self.failure or step.failure
        return Slot(memory, step)

    def _tensor(self, shape: Sequence[int], dtype: npt.DTypeLike) -> DeviceTensor:
        return DeviceTensor(self._session, self._device, shape, dtype)
