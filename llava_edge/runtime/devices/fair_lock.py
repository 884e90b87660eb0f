"""A lock that is given in the order in which it was asked for."""

from collections import deque
from threading import Event, Lock
from types import TracebackType

# Seconds. A wait without end hears no Ctrl-C on Windows, and may miss one as it begins elsewhere.
HEARS_CTRL_C = 0.1


class FairLock:
    """One at a time, first come, first served; a context manager.

    threading.Lock promises no order, so a thread that generates token after token could keep
    another one from ever beginning.
    """

    def __init__(self) -> None:
        self._state = Lock()
        self._busy = False
        self._waiting: deque[Event] = deque()

    def __enter__(self) -> None:
        mine = Event()
        try:
            with self._state:
                self._waiting.append(mine)
                if not self._busy:
                    self._hand_over()
            while not mine.wait(HEARS_CTRL_C):
                pass
        except BaseException:  # Ctrl-C, at any line: nobody may hand over to one that has gone
            with self._state:
                if mine in self._waiting:
                    self._waiting.remove(mine)
                elif mine.is_set():
                    self._hand_over()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._state:
            self._hand_over()

    def _hand_over(self) -> None:
        self._busy = bool(self._waiting)
        if self._waiting:
            self._waiting.popleft().set()
