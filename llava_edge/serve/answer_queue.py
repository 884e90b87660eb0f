"""How many answers are computed at a time, and in which order the others wait."""

import asyncio
from collections import deque

from llava_edge.serve.wire_errors import WireError

_RETRY_SECONDS = 5


class AnswerQueue:
    """At most `parallel` answers are in; up to `limit` wait outside, first come, first served."""

    def __init__(self, parallel: int, limit: int) -> None:
        self._parallel = parallel
        self._limit = limit
        self._inside = 0
        self._waiting = deque[asyncio.Future[None]]()
        self._closed = False

    @property
    def running(self) -> int:
        """How many answers are in."""
        return self._inside

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def enter(self) -> None:
        """Wait for a place; raises WireError where too many wait, or the server ends."""
        if self._closed:
            raise stopping()
        if self._inside < self._parallel:
            self._inside += 1
            return
        if len(self._waiting) >= self._limit:
            raise WireError(
                429,
                f"{len(self._waiting)} questions are waiting already; ask again later.",
                "rate_limit_error",
                "queue_full",
                headers={"retry-after": str(_RETRY_SECONDS)},
            )
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place in self._waiting:
                self._waiting.remove(place)
            elif not place.cancelled() and place.exception() is None:  # given in the same moment
                self.leave()
            raise

    def leave(self) -> None:
        """Give a place back; the next one that waits gets it."""
        if (place := self._next()) is not None:
            place.set_result(None)
        else:
            self._inside -= 1

    def close(self) -> None:
        """Let nobody in any more."""
        self._closed = True
        while (place := self._next()) is not None:
            place.set_exception(stopping())

    def _next(self) -> asyncio.Future[None] | None:
        """Whoever has waited longest, but for those who are just leaving."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                return place
        return None


def stopping() -> WireError:
    """The server is told to end."""
    return WireError(
        503,
        "The server is ending; ask again once it is back.",
        "unavailable_error",
        "stopping",
        headers={"retry-after": str(_RETRY_SECONDS)},
    )
