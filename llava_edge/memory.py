"""How much memory this process has taken at most."""

import sys


def peak_memory() -> int | None:
    """The peak resident size in bytes, or None where the system does not say (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
