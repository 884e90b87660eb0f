"""How much memory a bundle will take, and how long a conversation that leaves room for."""

from dataclasses import dataclass

import numpy as np

from llava_edge.core.bundle import WEIGHTS_BIN
from llava_edge.core.bundle_config import BundleConfig
from llava_edge.core.machine import available_memory
from llava_edge.errors import LlavaEdgeError, UsageError
from llava_edge.runtime.devices.cuda_driver import gpu_memory
from llava_edge.runtime.devices.device import CPU, CUDA, Device

DEFAULT_CONTEXT = 4096  # tokens, where model and memory allow as many
LEAST_CONTEXT = 512  # tokens, below which a smaller one helps nobody
PROGRAM = 110 * 10**6  # bytes: Python and its libraries
GPU_PROGRAM = 800 * 10**6  # bytes on a GPU: CUDA's context, libraries' scratch; not measured
WIDTH = 24  # times the hidden size: what is computed of a row at once, in float16
REPACKED = 1.2  # bytes in memory for one in a file, since onnxruntime packs weights its own way


@dataclass(frozen=True)
class ExpectedMemory:
    """What a bundle takes once loaded, in bytes; on a CPU the KV cache takes it as it fills."""

    weights: int
    loaded: int  # with what a program holds beside them
    kv_cache_per_token: int
    kv_cache: int  # at the context that `load` gives by default

    def context(self, available: int) -> int:
        """How many tokens' cache fits beside the rest; below 0 where not even the rest does."""
        return (available - self.loaded) // self.kv_cache_per_token


def expected_memory(config: BundleConfig, device: Device = CPU) -> ExpectedMemory:
    """Estimate from the sizes of files and cache, in the memory where the device computes."""
    decoder = config.decoder
    numbers = 2 * decoder.num_layers * decoder.num_kv_heads * decoder.head_dim  # of a token
    if device.separate:
        scratch = 2 * device.chunk * WIDTH * decoder.hidden_size
        weights, program = config.files[WEIGHTS_BIN].size, GPU_PROGRAM + scratch
    else:
        weights = int(REPACKED * config.size)
        program = PROGRAM
    per_token = numbers * np.dtype(decoder.cache_type(device.graph)).itemsize
    cache = per_token * min(decoder.context_length, DEFAULT_CONTEXT)
    return ExpectedMemory(weights, program + weights, per_token, cache)


def fitting_context(
    config: BundleConfig, wanted: int | None, device: Device = CPU, limit: int | None = None
) -> tuple[int, str]:
    """How many tokens a conversation may hold, and a sentence where memory makes them few.

    `limit` is the most bytes to take on a GPU. Raises UsageError for more tokens than the model can
    take, LlavaEdgeError where the bundle does not fit in what is free.
    """
    longest = config.decoder.context_length
    if wanted is not None and not 1 < wanted <= longest:
        raise UsageError(
            f"The context is {wanted:,} tokens; give 2 to {longest:,}, which the model can take."
        )
    size = min(longest, DEFAULT_CONTEXT) if wanted is None else wanted
    available, expected = free_memory(device, limit), expected_memory(config, device)
    if available is None:
        return size, ""
    fit = expected.context(available)
    if fit < (least := min(size, LEAST_CONTEXT)):
        needed = expected.loaded + least * expected.kv_cache_per_token
        raise LlavaEdgeError(
            f"The bundle takes about {needed / 1e9:.1f} GB, and {available / 1e9:.1f} GB of memory "
            f"are free{_where(device)}; end other programs, or export it with fewer bits."
        )
    if fit >= size:
        return size, ""
    if wanted is not None:
        if device.separate:  # where all of it is taken at once
            raise LlavaEdgeError(
                f"A context of {size:,} tokens does not fit in the {available / 1e9:.1f} GB that "
                f"are free{_where(device)}; load the bundle with at most {fit:,}."
            )
        return size, f"Memory is free for about {fit:,} tokens of the {size:,} asked for."
    return fit, (
        f"The context is {fit:,} tokens, since {available / 1e9:.1f} GB of memory are free"
        f"{_where(device)}."
    )


def free_memory(device: Device, limit: int | None = None) -> int | None:
    """Bytes that a device can take, at most `limit` on a GPU; None where its driver is silent."""
    if not device.separate:
        return available_memory()
    found = gpu_memory() if device.name == CUDA.name else None
    known = [size for size in (limit, found.free if found else None) if size is not None]
    return min(known, default=None)


def _where(device: Device) -> str:
    return f" on the device {device.name}" if device.separate else ""
