"""A lock that is given in the order in which it was asked for."""

from collections import deque
from collections.abc import Callable
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

    def held(self, check: Callable[[], None] = nothing) -> "_Place":
        """A context within which a place is taken.

        `check` is called now and then in the queue, and ends the wait by raising.
        """
        return _Place(self, check)

    def enter(self, mine: Event) -> None:
        """Stand in the queue; the event is set when a place is there."""
        with self._state:
            self._waiting.append(mine)
            self._hand_over()

    def leave(self, mine: Event) -> None:
        """Leave the queue, or the place."""
        with self._state:
            if mine in self._waiting:
                self._waiting.remove(mine)
            elif mine.is_set():
                mine.clear()
                self._free += 1
                self._hand_over()

    def _hand_over(self) -> None:
        if self._free and self._waiting:
            self._free -= 1
            self._waiting.popleft().set()


class _Place:
    def __init__(self, lock: FairLock, check: Callable[[], None]) -> None:
        self._lock = lock
        self._check = check
        self._mine = Event()

    def __enter__(self) -> None:
        try:
            self._lock.enter(self._mine)
            while not self._mine.wait(HEARS_CTRL_C):
                self._check()
        except BaseException:  # Ctrl-C, at any line: nobody may hand over to one that has gone
            self._lock.leave(self._mine)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.leave(self._mine)
