"""A reply whose body is sent as it comes."""

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import Message as Event
from starlette.types import Send


class ReplyStream:
    """Sends parts of a body; a client that takes none for `patience` seconds is given up."""

    def __init__(self, send: Send, media_type: str, patience: float) -> None:
        self.sent = 0.0  # when the newest part was, by the event loop's clock
        self._send_event = send
        self._patience = patience
        self._headers = [
            (b"content-type", media_type.encode()),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),  # nginx would hold parts back
        ]

    async def start(self) -> None:
        """Send status and headers; from here on, the body alone can tell of an error."""
        await self._send({"type": "http.response.start", "status": 200, "headers": self._headers})

    async def write(self, part: bytes) -> None:
        """Send a part of the body."""
        await self._send({"type": "http.response.body", "body": part, "more_body": True})
        self.sent = asyncio.get_running_loop().time()

    async def end(self) -> None:
        """End the body."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, event: Event) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await self._send_event(event)
        except TimeoutError:
            raise ClientDisconnect from None
