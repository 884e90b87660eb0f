"""The memory and the cores that this process has and may take; in a container, that one's.

psutil is imported late, since it would take a twentieth of the time of `import llava_edge`.
"""

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

_GROUP = Path("/sys/fs/cgroup")  # the limits of a container, of which psutil says nothing


def available_memory() -> int:
    """Bytes that can be taken without swapping."""
    import psutil

    free: int = psutil.virtual_memory().available
    try:
        used = int((_GROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        used -= int(stat.get("inactive_file", 0))  # pages of files, given up when they are needed
        return min(free, int((_GROUP / "memory.max").read_text()) - used)
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return free


def peak_memory(*, of_children: bool = False) -> int | None:
    """The peak resident size of this process in bytes; None where the system does not say.

    With `of_children`, that of the largest process that it started and that has ended.
    """
    if not of_children and (own := _own_peak()) is not None:
        return own
    try:
        import resource
    except ImportError:  # Windows, which keeps no account of processes that have ended
        return None
    who = resource.RUSAGE_CHILDREN if of_children else resource.RUSAGE_SELF
    peak = resource.getrusage(who).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def _own_peak() -> int | None:
    """What Windows and Linux say; getrusage on Linux hands a parent's peak on to its children."""
    if sys.platform == "win32":
        import psutil

        peak: int = psutil.Process().memory_info().peak_wset
        return peak
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None


def release_unused() -> None:
    """Give memory that was freed back to the system, which glibc else keeps for later."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def usable_cores() -> int:
    """Physical cores that this process may use, 1 or more.

    onnxruntime's own default counts the machine's cores, even in a container with two of them.
    """
    if not hasattr(os, "sched_getaffinity"):
        import psutil

        return psutil.cpu_count(logical=False) or os.cpu_count() or 1
    cores = {_siblings(cpu) for cpu in os.sched_getaffinity(0)}
    return max(1, min(len(cores), _quota()))


def _siblings(cpu: int) -> str:
    """The logical CPUs on the same core, as Linux writes them."""
    topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return topology.read_text().strip()
    except OSError:
        return str(cpu)


def _quota() -> int:
    """CPUs that the container's time quota amounts to."""
    try:
        quota, period = (_GROUP / "cpu.max").read_text().split()
        return max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return os.cpu_count() or 1
