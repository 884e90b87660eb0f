"""Ends an answer from elsewhere: from another thread, or at a deadline."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING, Literal, TypeVar

from llava_edge.errors import DeviceError
from llava_edge.runtime.devices.device_memory import compute, run_options

if TYPE_CHECKING:
    import onnxruntime

T = TypeVar("T")
Reason = Literal["cancelled", "timeout"]


class Interrupted(Exception):
    """A run of a graph was cut off, or not begun, because the answer has been ended."""


class Interrupt:
    """What the runs of one answer look at; onnxruntime stops a run between two of its nodes.

    `timeout` is in seconds, counted from the moment `since` of time.perf_counter, or from now.
    """

    def __init__(self, timeout: float | None = None, since: float | None = None) -> None:
        self.reason: Reason | None = None
        self.run_options: onnxruntime.RunOptions = run_options()
        since = time.perf_counter() if since is None else since
        self._deadline = None if timeout is None else since + timeout
        self._timer: Timer | None = None
        self._shared: list[onnxruntime.RunOptions] = []

    def begin(self) -> None:
        """The answer is begun: from here on the deadline, which counts from before, is watched."""
        if self._deadline is None:
            return
        left = self._deadline - time.perf_counter()
        if left <= 0:
            self.end("timeout")
            return
        self._timer = Timer(left, self.end, ("timeout",))
        self._timer.daemon = True
        self._timer.start()

    def end(self, reason: Reason) -> None:
        """End the answer; the first reason counts."""
        self.reason = self.reason or reason
        for options in (self.run_options, *self._shared):
            options.terminate = True

    @contextmanager
    def ending(self, options: "onnxruntime.RunOptions") -> Iterator[None]:
        """Within, the end of the answer ends also a run that is shared with others."""
        self._shared.append(options)
        try:
            if self.reason is not None:
                options.terminate = True
            yield
        finally:
            self._shared.remove(options)

    def check(self) -> None:
        """Raise Interrupted where the answer has been ended."""
        if self.reason is not None:
            raise Interrupted

    def compute(self, call: Callable[[], T]) -> T:
        """What a call of onnxruntime returns that was given `run_options`.

        Raises Interrupted where the answer has been ended, and DeviceError where it fails else.
        """
        try:
            return compute(call)
        except DeviceError as error:
            if self.reason is None:
                raise
            raise Interrupted from error

    def close(self) -> None:
        """The answer has ended by itself."""
        if self._timer is not None:
            self._timer.cancel()
