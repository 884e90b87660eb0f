"""The body of a request: received whole, within its size and time, before anything reads it."""

import asyncio
from time import monotonic

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from llava_edge.serve.guards.guard_settings import GuardSettings
from llava_edge.serve.guards.header_values import header_values
from llava_edge.serve.json_body import check_structure
from llava_edge.serve.wire_errors import WireError

_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class RequestBody:
    """A body on its way in; `receive` hands it on in one message once it was read."""

    def __init__(self, scope: Scope, receive: Receive, settings: GuardSettings) -> None:
        self._scope = scope
        self._receive = receive
        self._settings = settings
        self._ended = False
        self._whole: bytes | None = None

    async def read(self) -> None:
        """Raises WireError for what is no JSON, too large or slow; ClientDisconnect."""
        self._check_type()
        announced = map(int, header_values(self._scope, "content-length"))
        if max(announced, default=0) > self._settings.body_bytes:
            raise self._too_large()
        parts: list[bytes] = []
        started, size = monotonic(), 0
        while not self._ended:
            part = await self._part(started, size)
            parts.append(part)
            if (size := size + len(part)) > self._settings.body_bytes:
                raise self._too_large()
        self._whole = b"".join(parts)
        check_structure(self._whole, self._settings.json_depth)

    async def receive(self) -> Message:
        """ASGI's receive for what comes behind: the body, then whatever follows it."""
        if self._whole is None:
            return await self._receive()
        body, self._whole = self._whole, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def discard(self) -> bool:
        """Let a client that is refused finish, a few seconds, so that it reads why.

        False where the rest is still on its way, or waits for a "100 Continue".
        """
        if not self._ended and header_values(self._scope, "expect"):
            return False
        try:
            async with asyncio.timeout(self._settings.discard_seconds):
                while not self._ended:
                    await self._message()
        except (TimeoutError, ClientDisconnect):
            return False
        return True

    async def _part(self, started: float, size: int) -> bytes:
        settings = self._settings
        seconds = min(settings.body_seconds, settings.grace_seconds + size / settings.least_rate)
        try:
            async with asyncio.timeout(started + seconds - monotonic()):
                return await self._message()
        except TimeoutError:
            raise WireError(
                408,
                "The body came too slowly.",
                code="request_timeout",
                headers={"x-should-retry": "false"},
            ) from None

    async def _message(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        self._ended = not message.get("more_body", False)
        return bytes(message.get("body", b""))

    def _check_type(self) -> None:
        """A page may send other types to any server without asking: they are refused."""
        kinds = header_values(self._scope, "content-type")
        kind = kinds[0].partition(";")[0].strip().lower() if len(kinds) == 1 else ""
        if self._scope["method"] not in _READING and kind != "application/json":
            raise WireError(415, "Send the body as `Content-Type: application/json`.")
        if set(header_values(self._scope, "content-encoding")) - {"identity"}:
            raise WireError(415, "Send the body without Content-Encoding.")

    def _too_large(self) -> WireError:
        return WireError(
            413,
            f"The body is larger than {self._settings.body_bytes:,} bytes; send smaller or fewer "
            "pictures.",
            code="body_too_large",
            headers={"connection": "close"},
        )
