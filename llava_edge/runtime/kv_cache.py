"""KVCache: the keys and values of what a decoder has read, kept in place."""

import math
import mmap
import sys
from abc import ABC, abstractmethod
from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from llava_edge.core.bundle_config import DecoderConfig
from llava_edge.errors import LlavaEdgeError, UsageError
from llava_edge.runtime.devices.device import Device
from llava_edge.runtime.devices.device_memory import DeviceTensor

if TYPE_CHECKING:
    import onnxruntime

CacheNumbers = npt.NDArray[np.float32] | npt.NDArray[np.float16] | npt.NDArray[np.int8]
CacheShape = tuple[int, ...]


class KVCache(ABC):
    """Keys and values of `length` tokens, which the graph reads as past and writes as present."""

    def __init__(self, shape: CacheShape) -> None:
        self.shape = shape  # [layers, 2, kv_heads, context, head_dim]
        self.length = 0

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens; what lies behind them is overwritten."""
        if not 0 <= length <= self.length:
            raise UsageError(
                f"The KV cache holds {self.length} tokens and cannot be rewound to {length}; "
                "give a length that it has had."
            )
        self.length = length

    @abstractmethod
    def bind(self, binding: "onnxruntime.IOBinding") -> None:
        """Name the memory of each layer's past and present to a binding."""

    @abstractmethod
    def numbers(self) -> CacheNumbers:
        """What is held: [layers, 2, kv_heads, length, head_dim]."""

    @abstractmethod
    def restore(self, numbers: CacheNumbers) -> None:
        """Hold what `numbers` gave of another cache for the same graph."""

    @abstractmethod
    def release(self) -> None:
        """Give the memory back; nothing may use the cache any more."""


def cache_shape(config: DecoderConfig, context: int) -> CacheShape:
    """Of a cache for `context` tokens: [layers, 2, kv_heads, context, head_dim]."""
    return (config.num_layers, 2, config.num_kv_heads, context, config.head_dim)


def bind_host_memory(binding: "onnxruntime.IOBinding", memory: CacheNumbers) -> None:
    """Name memory [layers, 2, B, kv_heads, rows, head_dim] as each layer's past and present."""
    for layer, halves in enumerate(memory):
        for half, name in zip(halves, ("key", "value"), strict=True):
            place = ("cpu", 0, half.dtype, half.shape, half.ctypes.data)
            binding.bind_input(f"past_key_values.{layer}.{name}", *place)
            binding.bind_output(f"present.{layer}.{name}", *place)


class HostKVCache(KVCache):
    """Memory [layers, 2, kv_heads, rows, head_dim] whose pages are taken as tokens come.

    `slot` is its place where several caches lie side by side.
    """

    def __init__(self, shape: CacheShape, memory: CacheNumbers, slot: int | None = None) -> None:
        super().__init__(shape)
        self.slot = slot
        self._memory = memory

    def bind(self, binding: "onnxruntime.IOBinding") -> None:
        bind_host_memory(binding, self._memory[:, :, None])

    def numbers(self) -> CacheNumbers:
        return self._memory[:, :, :, : self.length]

    def restore(self, numbers: CacheNumbers) -> None:
        self.length = numbers.shape[3]
        self.numbers()[:] = numbers

    def release(self) -> None:
        self._memory = self._memory[:0].copy()


class CacheMemory:
    """A tensor for each layer's keys and values in a device's memory."""

    def __init__(
        self,
        session: "onnxruntime.InferenceSession",
        device: Device,
        shape: CacheShape,
        dtype: npt.DTypeLike,
    ) -> None:
        layers, halves, *tensor = shape
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.layers = [
            [DeviceTensor(session, device, (1, *tensor), self.dtype) for _ in range(halves)]
            for _ in range(layers)
        ]

    def named(self, kind: str) -> dict[str, DeviceTensor]:
        """The tensors as the graph names them: `past_key_values` or `present`."""
        return {
            f"{kind}.{layer}.{name}": tensor
            for layer, halves in enumerate(self.layers)
            for name, tensor in zip(("key", "value"), halves, strict=True)
        }


class DeviceKVCache(KVCache):
    """A cache in a device's memory."""

    def __init__(self, memory: CacheMemory) -> None:
        super().__init__(memory.shape)
        self._memory = memory

    def bind(self, binding: "onnxruntime.IOBinding") -> None:
        for name, tensor in self._memory.named("past_key_values").items():
            binding.bind_ortvalue_input(name, tensor.value)
        for name, tensor in self._memory.named("present").items():
            binding.bind_ortvalue_output(name, tensor.value)

    def numbers(self) -> CacheNumbers:
        numbers: CacheNumbers = np.array(
            [
                [tensor.read()[0, :, : self.length] for tensor in halves]
                for halves in self._memory.layers
            ],
            self._memory.dtype,
        )
        return numbers

    def restore(self, numbers: CacheNumbers) -> None:
        self.length = numbers.shape[3]
        for halves, layer in zip(self._memory.layers, numbers, strict=True):
            for tensor, half in zip(halves, layer, strict=True):
                whole = np.zeros((1, *self.shape[2:]), half.dtype)
                whole[0, :, : self.length] = half
                tensor.write(whole)

    def release(self) -> None:
        self._memory = copy(self._memory)  # what it was stays whole: another cache may be lent it
        self._memory.layers = []


def reserve(shape: CacheShape, dtype: npt.DTypeLike) -> CacheNumbers:
    """Zeroed memory that the system hands out page by page, as caches fill."""
    size = np.dtype(dtype).itemsize * math.prod(shape)
    try:
        memory = mmap.mmap(-1, size)
    except (OSError, OverflowError) as error:
        raise LlavaEdgeError(
            f"A KV cache for {shape[-2]:,} tokens takes {size / 2**30:.1f} GiB, which this machine "
            "does not give; load the bundle with a smaller context."
        ) from error
    if sys.platform == "linux":  # a huge page would hand out a head's memory at once
        with suppress(OSError):  # a kernel without huge pages
            memory.madvise(mmap.MADV_NOHUGEPAGE)
    numbers: CacheNumbers = np.frombuffer(memory, dtype=dtype).reshape(shape)
    return numbers
