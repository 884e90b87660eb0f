"""How much memory this process has taken at most, and how much there is to take."""

import sys
from pathlib import Path


def peak_memory(*, of_children: bool = False) -> int | None:
    """The peak resident size in bytes, or None where the system does not say (Windows).

    Of this process, or of the largest of those that it started and that have ended.
    """
    try:
        import resource
    except ImportError:
        return None
    who = resource.RUSAGE_CHILDREN if of_children else resource.RUSAGE_SELF
    peak = resource.getrusage(who).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


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
