"""How much memory a bundle will take, this process has taken at most, and there is to take."""

import ctypes
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llava_edge.config import BundleConfig
from llava_edge.errors import LlavaEdgeError, UsageError

DEFAULT_CONTEXT = 4096  # tokens, where model and memory allow as many
LEAST_CONTEXT = 512  # tokens, below which a smaller one helps nobody
PROGRAM = 110 * 10**6  # bytes: Python and its libraries
REPACKED = 1.2  # bytes in memory for one in a file, since onnxruntime packs weights its own way


@dataclass(frozen=True)
class Memory:
    """What a bundle takes once loaded, in bytes; the KV cache takes its share as it fills."""

    loaded: int
    kv_cache_per_token: int
    kv_cache: int  # at the context that `load` gives by default


def expected_memory(config: BundleConfig) -> Memory:
    """Estimate from the sizes of files and cache; what a run holds beside them is small."""
    size = sum(record.size for record in config.files.values())
    decoder = config.decoder
    per_token = 2 * 4 * decoder.num_layers * decoder.num_kv_heads * decoder.head_dim
    return Memory(
        loaded=PROGRAM + int(REPACKED * size),
        kv_cache_per_token=per_token,
        kv_cache=per_token * min(decoder.context_length, DEFAULT_CONTEXT),
    )


def fitting_context(config: BundleConfig, wanted: int | None) -> tuple[int, str]:
    """How many tokens a conversation may hold, and a sentence where memory makes them few.

    Raises UsageError for more than the model can take, LlavaEdgeError where the bundle does not
    fit in what is free.
    """
    limit = config.decoder.context_length
    if wanted is not None and not 1 < wanted <= limit:
        raise UsageError(
            f"The context is {wanted:,} tokens; give 2 to {limit:,}, which the model can take."
        )
    size = min(limit, DEFAULT_CONTEXT) if wanted is None else wanted
    available, expected = available_memory(), expected_memory(config)
    if available is None:
        return size, ""
    fit = (available - expected.loaded) // expected.kv_cache_per_token
    if fit < min(size, LEAST_CONTEXT):
        raise LlavaEdgeError(
            f"The bundle takes about {expected.loaded / 1e9:.1f} GB and "
            f"{expected.kv_cache_per_token / 1e6:.2f} MB for each token, and "
            f"{available / 1e9:.1f} GB of memory are free; end other programs, or export it with "
            "fewer bits."
        )
    if fit >= size:
        return size, ""
    if wanted is not None:
        return size, f"Memory is free for about {fit:,} tokens of the {size:,} asked for."
    return fit, f"The context is {fit:,} tokens, since {available / 1e9:.1f} GB of memory are free."


def release_unused() -> None:
    """Give memory that was freed back to the system, which glibc else keeps for later."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def peak_memory(*, of_children: bool = False) -> int | None:
    """The peak resident size in bytes, or None where the system does not say (Windows).

    Of this process, or of the largest of those that it started and that have ended.
    """
    if not of_children and (own := _high_water_mark()) is not None:
        return own
    try:
        import resource
    except ImportError:
        return None
    who = resource.RUSAGE_CHILDREN if of_children else resource.RUSAGE_SELF
    peak = resource.getrusage(who).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def _high_water_mark() -> int | None:
    """Linux's own account; getrusage hands a parent's peak on to the processes that it starts."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None


def available_memory() -> int | None:
    """Bytes that can be taken without swapping, or None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(
            int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")
        )
    except (OSError, StopIteration):
        return None
    group = Path("/sys/fs/cgroup")
    try:
        used = int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used -= int(stat.get("inactive_file", 0))  # pages of files, given up when they are needed
        left = int((group / "memory.max").read_text()) - used
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return free
    return min(free, left)
