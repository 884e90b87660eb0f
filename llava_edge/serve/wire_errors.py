"""Errors as OpenAI's clients read them: a status, and one sentence with its kind."""

from collections.abc import Mapping

import msgspec
from starlette.types import Send


class WireError(Exception):
    """A request that is refused, or fails: one sentence for the client, and nothing of the inside.

    `type` is the kind that clients tell apart (`invalid_request_error`), `code` the fault within
    it, `param` the place in the request (`messages[0].content`).
    """

    def __init__(
        self,
        status: int,
        message: str,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.code = code
        self.param = param
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """The JSON that OpenAI's error reference describes; a stream sends it as its last event."""
        fields = ("message", "type", "param", "code")
        return msgspec.json.encode({"error": {name: getattr(self, name) for name in fields}})


async def send_error(error: WireError, send: Send) -> None:
    """Write the error as a whole ASGI response."""
    body = error.body()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **error.headers,
    }
    lines = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
