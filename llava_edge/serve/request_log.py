"""Every request gets an id, is counted, and is logged in one line without its words."""

import logging
import secrets
from time import perf_counter

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llava_edge.runtime.answer import Piece
from llava_edge.serve.metrics import Metrics
from llava_edge.serve.wire_errors import WireError

_GONE = 499  # nginx's number for a client that did not wait
_QUIET = frozenset({"/health", "/v1/health", "/metrics"})  # asked every few seconds by programs

_log = logging.getLogger(__name__)


def logged(app: ASGIApp, metrics: Metrics) -> ASGIApp:
    """The app with an `x-request-id` on each reply, and a line in the log for each."""

    async def log(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        began, id, status = perf_counter(), f"req_{secrets.token_hex(12)}", _GONE
        scope.setdefault("state", {})

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        try:
            await app(scope, receive, send_with_id)
        except Exception:
            if "result" not in scope["state"]:  # else the client was told, and the log
                status = 500
                raise
        finally:
            result = scope["state"].get("result")
            status = _GONE if isinstance(result, ClientDisconnect) else status
            metrics.replied(status)
            level = logging.DEBUG if scope["path"] in _QUIET else logging.INFO
            _log.log(level, "%s", _line(scope, status, id, perf_counter() - began))

    return log


def note_result(scope: Scope, result: Piece | WireError | ClientDisconnect) -> None:
    """Let the line of a request say how its answer ended."""
    scope["state"]["result"] = result


def _line(scope: Scope, status: int, id: str, seconds: float) -> str:
    path = scope["raw_path"].decode("ascii", "replace")  # as it was sent: without line ends
    line = f"{scope['method']} {path} {status} in {seconds:.3f} s, {id}"
    result = scope["state"].get("result")
    if isinstance(result, ClientDisconnect):
        return f"{line}: the client has gone"
    if isinstance(result, WireError):
        return f"{line}: {result.code or result.type}"
    if isinstance(result, Piece):
        tokens = result.timings
        return (
            f"{line}: {tokens.prompt_tokens} prompt tokens ({tokens.cached_tokens} cached, "
            f"{tokens.image_tokens} image), {tokens.generated_tokens} said, {result.finish}"
        )
    return line
