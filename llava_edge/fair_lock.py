"""A lock that is given in the order in which it was asked for."""

from collections import deque
from threading import Lock
from types import TracebackType


class FairLock:
    """One at a time, first come, first served; a context manager.

    threading.Lock promises no order, so a thread that generates token after token could keep
    another one from ever beginning.
    """

    def __init__(self) -> None:
        self._state = Lock()
        self._busy = False
        self._waiting: deque[Lock] = deque()

    def __enter__(self) -> None:
        with self._state:
            if not self._busy:
                self._busy = True
                return
            mine = Lock()
            mine.acquire()
            self._waiting.append(mine)
        try:
            mine.acquire()  # until the one before hands over
        except BaseException:  # Ctrl-C: nobody may hand over to one that has gone
            with self._state:
                if mine in self._waiting:
                    self._waiting.remove(mine)
                else:
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
        if self._waiting:
            self._waiting.popleft().release()
        else:
            self._busy = False
