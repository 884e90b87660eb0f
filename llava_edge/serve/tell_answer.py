"""An answer told piece by piece, in whatever form a client reads."""

import asyncio
from collections.abc import Iterator
from typing import Protocol

from starlette.requests import ClientDisconnect

from llava_edge.runtime.answer import Piece
from llava_edge.serve.error_replies import as_wire_error
from llava_edge.serve.reply_stream import ReplyStream
from llava_edge.serve.running_answer import RunningAnswer
from llava_edge.serve.wire_errors import WireError


class Teller(Protocol):
    """Writes the parts of a reply's body."""

    media_type: str
    ping: bytes  # which clients pass over

    def begin(self) -> Iterator[bytes]:
        """What comes before the answer."""
        ...

    def tell(self, piece: Piece) -> Iterator[bytes]:
        """A piece, without saying that it is the last."""
        ...

    def end(self, last: Piece) -> Iterator[bytes]:
        """What comes after the answer."""
        ...

    def fail(self, error: WireError) -> Iterator[bytes]:
        """What is said in the place of an end, where there is none."""
        ...


async def tell_answer(
    answer: RunningAnswer, teller: Teller, reply: ReplyStream, ping_seconds: float
) -> Piece | WireError:
    """Send an answer as it comes; what fails on the way is told and returned, in the last's place.

    Raises what is wrong with the question, before anything is sent, and ClientDisconnect.
    """
    piece = await answer.piece()
    while piece.stage == "encoding" and not piece.finish:  # then the question can be answered
        piece = await answer.piece()
    await reply.start()
    try:
        for part in teller.begin():
            await reply.write(part)
        while not piece.finish:
            for part in teller.tell(piece):
                await reply.write(part)
            await asyncio.sleep(0)  # lets others go on, and hears whether the client has gone
            piece = await _next(answer, teller, reply, ping_seconds)
        ending = [*teller.tell(piece), *teller.end(piece)]
        result: Piece | WireError = piece
    except ClientDisconnect:
        raise
    except Exception as error:
        result = as_wire_error(error)
        ending = list(teller.fail(result))
    for part in ending:
        await reply.write(part)
    await reply.end()
    return result


async def _next(
    answer: RunningAnswer, teller: Teller, reply: ReplyStream, ping_seconds: float
) -> Piece:
    """The next piece; until it comes, the connection is kept alive."""
    while True:
        try:
            async with asyncio.timeout_at(reply.sent + ping_seconds):
                return await answer.piece()
        except TimeoutError:
            await reply.write(teller.ping)
