"""KVCache: the keys and values of what a decoder has read, kept in place."""

import math
import mmap
import sys
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from llava_edge.config import DecoderConfig
from llava_edge.devices import Device, onnxruntime_library
from llava_edge.errors import LlavaEdgeError, UsageError

if TYPE_CHECKING:
    import onnxruntime

Numbers = npt.NDArray[np.float32] | npt.NDArray[np.float16]


class KVCache(ABC):
    """Keys and values of `length` tokens, which the graph reads as past and writes as present."""

    def __init__(self, shape: tuple[int, ...]) -> None:
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
    def numbers(self) -> Numbers:
        """What is held: [layers, 2, kv_heads, length, head_dim]."""

    @abstractmethod
    def restore(self, numbers: Numbers) -> None:
        """Hold what `numbers` gave of another cache for the same graph."""


def new_cache(config: DecoderConfig, context: int, device: Device) -> KVCache:
    """An empty cache for `context` tokens, in the memory where the device computes."""
    shape = (config.num_layers, 2, config.num_kv_heads, context, config.head_dim)
    if device.memory == "cpu":
        return HostKVCache(shape, np.dtype(device.kv_type))
    return DeviceKVCache(shape, np.dtype(device.kv_type), device)


class HostKVCache(KVCache):
    """One buffer [layers, 2, kv_heads, context, head_dim] whose pages are taken as tokens come."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
        super().__init__(shape)
        self._memory = _reserve(shape, dtype)

    def bind(self, binding: "onnxruntime.IOBinding") -> None:
        for layer, halves in enumerate(self._memory):
            for half, name in zip(halves, ("key", "value"), strict=True):
                place = ("cpu", 0, half.dtype, (1, *half.shape), half.ctypes.data)
                binding.bind_input(f"past_key_values.{layer}.{name}", *place)
                binding.bind_output(f"present.{layer}.{name}", *place)

    def numbers(self) -> Numbers:
        return self._memory[:, :, :, : self.length]

    def restore(self, numbers: Numbers) -> None:
        self.length = numbers.shape[3]
        self.numbers()[:] = numbers


class DeviceKVCache(KVCache):
    """A tensor for each layer's keys and values in a GPU's memory."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[np.generic], device: Device) -> None:
        super().__init__(shape)
        layers, halves, *tensor = shape
        new = onnxruntime_library().OrtValue.ortvalue_from_shape_and_type
        self._tensors = [
            [new([1, *tensor], dtype, device.memory, 0) for _ in range(halves)]
            for _ in range(layers)
        ]

    def bind(self, binding: "onnxruntime.IOBinding") -> None:
        for layer, halves in enumerate(self._tensors):
            for half, name in zip(halves, ("key", "value"), strict=True):
                binding.bind_ortvalue_input(f"past_key_values.{layer}.{name}", half)
                binding.bind_ortvalue_output(f"present.{layer}.{name}", half)

    def numbers(self) -> Numbers:
        return np.stack(
            [[half.numpy()[0, :, : self.length] for half in layer] for layer in self._tensors]
        )

    def restore(self, numbers: Numbers) -> None:
        self.length = numbers.shape[3]
        for halves, layer in zip(self._tensors, numbers, strict=True):
            for tensor, half in zip(halves, layer, strict=True):
                whole = np.zeros(tensor.shape(), half.dtype)
                whole[0, :, : self.length] = half
                tensor.update_inplace(whole)


def _reserve(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Numbers:
    """Zeroed memory that the system hands out page by page, as the cache fills."""
    size = dtype.itemsize * math.prod(shape)
    try:
        memory = mmap.mmap(-1, size)
    except (OSError, OverflowError) as error:
        raise LlavaEdgeError(
            f"A KV cache for {shape[3]:,} tokens takes {size / 2**30:.1f} GiB, which this machine "
            "does not give; load the bundle with a smaller context."
        ) from error
    if sys.platform == "linux":  # a huge page would hand out a head's memory at once
        with suppress(OSError):  # a kernel without huge pages
            memory.madvise(mmap.MADV_NOHUGEPAGE)
    numbers: Numbers = np.frombuffer(memory, dtype=dtype).reshape(shape)
    return numbers
