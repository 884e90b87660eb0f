"""Who calls a device when: in the order of asking, one call at a time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Protocol, TypeVar

from llava_edge.runtime.devices.fair_lock import FairLock

T = TypeVar("T")


class CallQueue(Protocol):
    """Makes one call after another, those of all threads."""

    def run(self, call: Callable[[], T]) -> T:
        """What the call returns, after all that were asked before it; raises what it raises."""


class CallersThread:
    """Each call is made in the thread that asks for it."""

    def __init__(self) -> None:
        self._lock = FairLock()

    def run(self, call: Callable[[], T]) -> T:
        """See CallQueue."""
        with self._lock:
            return call()


class OneThread:
    """All calls are made in one thread: a CUDA graph belongs to the thread that recorded it."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="llava-edge-gpu")

    def run(self, call: Callable[[], T]) -> T:
        """See CallQueue."""
        return self._executor.submit(call).result()


@cache
def gpu_thread() -> OneThread:
    """The one for all models: while one records a graph, no other may take or give back memory."""
    return OneThread()
