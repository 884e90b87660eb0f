"""AsyncStream: the pieces of a Stream for asyncio, computed in a thread of their own."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from threading import Semaphore, Thread
from typing import TypeVar
from weakref import finalize

from llava_edge.runtime.answer import Piece
from llava_edge.runtime.stream import Stream

T = TypeVar("T")
AHEAD = 8  # pieces that are computed before the reader has asked for them


class AsyncStream:
    """Iterates over the pieces of an answer, in the event loop that iterates it.

        async with model.stream("Describe the picture.", "photo.jpg") as stream:
            async for piece in stream:
                print(piece.text, end="")

    The answer is ended when the task that waits for a piece is cancelled, at the end of
    `async with`, and when nobody holds the stream any longer. At most a few pieces are computed
    ahead of their reader. Raises what a Stream raises.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._reader: _Reader | None = None
        self._done = False

    def __aiter__(self) -> "AsyncStream":
        return self

    async def __anext__(self) -> Piece:
        if self._done:
            raise StopAsyncIteration
        if self._reader is None:
            self._reader = _Reader(self._stream)
            finalize(self, self._reader.leave)
        try:
            piece = await self._reader.next()
        except BaseException:  # CancelledError among them
            await self.aclose()
            raise
        if piece is None:
            await self.aclose()
            raise StopAsyncIteration
        return piece

    async def __aenter__(self) -> "AsyncStream":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def cancel(self) -> None:
        """End the answer; the iteration gets a last piece, whose `finish` is "cancelled"."""
        self._stream.cancel()

    async def aclose(self) -> None:
        """Give the answer up, and wait until nothing is computed for it any more."""
        self._done = True
        if self._reader is None:
            self._stream.close()
            return
        self._reader.leave()
        await self._reader.end()

    async def text(self) -> str:
        """Iterate to the end, and return the words that were still to come."""
        return "".join([piece.text async for piece in self])


class _Reader:
    """Reads a stream in a thread, a few pieces ahead; it knows nothing of the AsyncStream."""

    def __init__(self, stream: Stream) -> None:
        self._ended = asyncio.Event()
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._room = Semaphore(AHEAD)
        self._left = False
        self._pieces: deque[Piece | BaseException | None] = deque()
        self._arrived = asyncio.Event()
        self._thread = Thread(target=self._run, name="llava-edge-answer", daemon=True)
        self._thread.start()

    async def next(self) -> Piece | None:
        """The next piece, None at the end; raises what the stream raises."""
        while not self._pieces:
            self._arrived.clear()
            await self._arrived.wait()
        piece = self._pieces.popleft()
        self._room.release()
        if isinstance(piece, BaseException):
            raise piece
        return piece

    async def end(self) -> None:
        """Wait until the thread has ended."""
        await self._ended.wait()
        self._thread.join()  # it has nothing left to do

    def leave(self) -> None:
        """Let the answer end, since nobody reads it; from any thread."""
        self._left = True
        self._stream.cancel()
        self._room.release()

    def _run(self) -> None:
        """In the thread: read to the end, or until nobody does."""
        end: BaseException | None = None
        try:
            for piece in self._stream:
                self._tell(partial(self._put, piece))
                self._room.acquire()
                if self._left:
                    break
        except BaseException as error:
            end = error
        finally:
            self._stream.close()
            self._tell(partial(self._put, end))
            self._tell(self._ended.set)

    def _put(self, piece: Piece | BaseException | None) -> None:
        self._pieces.append(piece)
        self._arrived.set()

    def _tell(self, call: Callable[[], None]) -> None:
        """Have the loop call something, if it still runs."""
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop is closed
            self._left = True


async def in_thread(call: Callable[[], T]) -> T:
    """What a call returns that takes long, made in a thread of its own.

    The executor of asyncio is left to others, who may fill it. Where the task is cancelled, the
    call goes on without it.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if outcome.done():  # the task was cancelled
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)  # type: ignore[arg-type]  # None is a T here

    def run() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = call()
        except BaseException as error:
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:  # the loop is closed
            pass

    Thread(target=run, name="llava-edge-call", daemon=True).start()
    return await outcome
