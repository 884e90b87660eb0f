"""A lock that is given in the order in which it was asked for."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock
from types import TracebackType

# Seconds. A wait without end hears no Ctrl-C on Windows, and may miss one as it begins elsewhere.
HEARS_CTRL_C = 0.1


def nothing() -> None:
    """What a wait checks that only Ctrl-C ends."""


class FairLock:
    """One at a time, or as many as there are `places`; first come, first served.

    threading.Lock promises no order, so a thread that generates token after token could keep
    another one from ever beginning.
    """

    def __init__(self, places: int = 1) -> None:
        self._state = Lock()
        self._free = places
        self._waiting: deque[Event] = deque()

    @contextmanager
    def held(self, check: Callable[[], None] = nothing) -> Iterator[None]:
        """Within it a place is taken; what `check` raises in the queue ends the wait for one."""
        self.acquire(check)
        try:
            yield
        finally:
            self.release()

    def acquire(self, check: Callable[[], None] = nothing) -> None:
        """Wait for a place; `check` is called now and then, and ends the wait by raising."""
        mine = Event()
        try:
            with self._state:
                self._waiting.append(mine)
                self._hand_over()
            while not mine.wait(HEARS_CTRL_C):
                check()
        except BaseException:  # at any line: nobody may hand over to one that has gone
            with self._state:
                if mine in self._waiting:
                    self._waiting.remove(mine)
                elif mine.is_set():
                    self._free += 1
                    self._hand_over()
            raise

    def release(self) -> None:
        """Give the place to the next in the queue."""
        with self._state:
            self._free += 1
            self._hand_over()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def _hand_over(self) -> None:
        if self._free and self._waiting:
            self._free -= 1
            self._waiting.popleft().set()
