"""Gives memory back when a model has not been used for a while."""

import time
from collections.abc import Callable
from threading import Lock, Timer


class IdleTrim:
    """Calls `trim` once, in a thread of its own, when nothing was used for some seconds."""

    def __init__(self, seconds: float, trim: Callable[[], None]) -> None:
        self.seconds = seconds
        self._trim = trim
        self._lock = Lock()
        self._in_use = False
        self._last = 0.0
        self._timer: Timer | None = None
        self._ended = False

    def used(self, *, still: bool) -> None:
        """It was used until now, and still is or no longer."""
        with self._lock:
            self._in_use = still
            self._last = time.monotonic()
            if self._timer is None and not self._ended:
                self._wait(self.seconds)

    def end(self) -> None:
        """Do nothing any more."""
        with self._lock:
            self._ended = True
            if self._timer is not None:
                self._timer.cancel()

    def _wait(self, seconds: float) -> None:
        self._timer = Timer(seconds, self._look)
        self._timer.daemon = True
        self._timer.start()

    def _look(self) -> None:
        with self._lock:
            if self._ended:
                return
            left = self._last + self.seconds - time.monotonic()
            if self._in_use or left > 0:
                self._wait(self.seconds if self._in_use else left)
                return
            self._timer = None
        self._trim()
