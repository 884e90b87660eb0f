"""Who calls a device when: in the order of asking, one call at a time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Protocol, TypeVar

from llava_edge.runtime.devices.fair_lock import HEARS_CTRL_C, FairLock, nothing

T = TypeVar("T")


class CallQueue(Protocol):
    """Makes one call after another, those of all threads."""

    def run(self, call: Callable[[], T], check: Callable[[], None] = nothing) -> T:
        """What the call returns, after all that were asked before it; raises what it raises.

        Where `check` raises before the call's turn, it is not made.
        """


class CallersThread:
    """Each call is made in the thread that asks for it."""

    def __init__(self) -> None:
        self._lock = FairLock()

    def run(self, call: Callable[[], T], check: Callable[[], None] = nothing) -> T:
        """See CallQueue."""
        with self._lock.held(check):
            return call()


class OneThread:
    """All calls are made in one thread: a CUDA graph belongs to the thread that recorded it."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="llava-edge-gpu")

    def run(self, call: Callable[[], T], check: Callable[[], None] = nothing) -> T:
        """See CallQueue."""
        future = self._executor.submit(call)
        while True:
            try:
                return future.result(HEARS_CTRL_C)
            except TimeoutError:
                if future.done():  # the call's own
                    raise
            try:
                check()
            except BaseException:
                if future.cancel():
                    raise
                check = nothing  # it is being made, and ends by its own interrupt


@cache
def gpu_thread() -> OneThread:
    """The one for all models: while one records a graph, no other may take or give back memory."""
    return OneThread()
