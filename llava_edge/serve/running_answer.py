"""An answer that a thread computes, and whose pieces the event loop awaits."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from llava_edge.runtime.answer import Piece
from llava_edge.runtime.stream import Stream


class RunningAnswer:
    """Takes a stream's pieces in a thread, however slowly they are asked for here.

    `ended` is called in the event loop once the thread is done with the stream.
    """

    def __init__(self, stream: Stream, ended: Callable[["RunningAnswer"], None]) -> None:
        self.last: Piece | None = None  # the newest piece; that of an ended answer says how
        self._stream = stream
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._pieces = asyncio.Queue[Piece | Exception]()

    def start(self, threads: Executor) -> None:
        """Begin to compute."""
        threads.submit(self._compute)

    async def piece(self) -> Piece:
        """The next piece; raises what the iteration raised."""
        found = await self._pieces.get()
        if isinstance(found, Exception):
            raise found
        return found

    def cancel(self) -> None:
        """End the answer; what is computed just now is cut short."""
        self._stream.cancel()

    def _compute(self) -> None:
        try:
            for piece in self._stream:
                self.last = piece
                self._in_loop(self._pieces.put_nowait, piece)
        except Exception as error:
            self._in_loop(self._pieces.put_nowait, error)
        finally:
            self._in_loop(self._ended, self)

    def _in_loop(self, call: Callable[..., object], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:  # the server has ended: nobody is left to be told
            self._stream.cancel()
