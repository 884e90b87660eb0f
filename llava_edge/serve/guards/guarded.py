"""The guards around the server, in the order in which a request passes them."""

from collections.abc import Mapping

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llava_edge.serve.guards.api_keys import accepted_key
from llava_edge.serve.guards.guard_settings import GuardSettings
from llava_edge.serve.guards.host_guard import check_host
from llava_edge.serve.guards.origin_guard import cors_headers, is_preflight, send_preflight
from llava_edge.serve.guards.request_body import RequestBody
from llava_edge.serve.wire_errors import WireError, send_error

_ALWAYS = {"x-content-type-options": "nosniff", "cross-origin-resource-policy": "same-origin"}


def guarded(app: ASGIApp, settings: GuardSettings) -> ASGIApp:
    """The app behind its guards: it gets whole bodies, and `scope["state"]["key"]`.

    The key is the sha256, in hex, of the API key that was sent, and empty where none was needed.
    """

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await app(scope, receive, send)
        if scope["type"] != "http":  # the server has no WebSockets
            return await send({"type": "websocket.close"})
        body = RequestBody(scope, receive, settings)
        send = _with_headers(send, _ALWAYS)
        try:
            check_host(scope, settings)
            send = _with_headers(send, cors_headers(scope, settings))
            if is_preflight(scope):
                return await send_preflight(scope, send)
            scope.setdefault("state", {})["key"] = accepted_key(scope, settings)
            await body.read()
        except WireError as error:
            slow = error.status == 408  # whose rest nobody waits for
            if slow or not await body.discard():
                error.headers["connection"] = "close"
            return await send_error(error, send)
        except ClientDisconnect:
            return None
        await app(scope, body.receive, send)

    return guard


def _with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    """`send` with headers for the reply, before its own."""
    lines = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*lines, *message.get("headers", [])]}
        await send(message)

    return send_with_headers
