"""A server that really runs, in a thread, and what raw sockets get from it."""

import json
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.client import HTTPResponse
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from llava_edge.serve.guards.guard_settings import GuardSettings
from llava_edge.serve.guards.guarded import guarded


class Reply:
    """A response that was read to its end."""

    def __init__(self, response: HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """Its error, whose shape is checked."""
        assert self.headers["content-type"] == "application/json"
        assert set(self.json) == {"error"}
        assert set(self.json["error"]) == {"message", "type", "param", "code"}
        return dict(self.json["error"])


@contextmanager
def serving(app: ASGIApp) -> Iterator[int]:
    """Run an app in uvicorn, and give its port; connections queue until it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, http="h11", log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that tells what reached it."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    told = {
        "method": scope["method"],
        "path": scope["path"],
        "key": scope["state"]["key"],
        "size": len(body),
        "sha256": sha256(body).hexdigest(),
    }
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})


@contextmanager
def guarded_echo(**settings: Any) -> Iterator[int]:
    """The port of that app behind its guards."""
    with serving(guarded(echo, GuardSettings(**settings))) as port:
        yield port


def ask(
    port: int,
    target: str = "/v1/models",
    headers: Iterable[tuple[str, str]] = (),
    *,
    method: str = "GET",
    body: bytes | None = None,
    host: str | None = "localhost",
    http: str = "1.1",
) -> Reply:
    """Send a request as it is written here, and read the reply."""
    lines = [f"{method} {target} HTTP/{http}", "Connection: close"]
    lines += [f"Host: {host}"] if host is not None else []
    lines += [f"{name}: {value}" for name, value in headers]
    lines += [f"Content-Length: {len(body)}"] if body is not None else []
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    with connection(port) as client:
        client.sendall(head + (body or b""))
        return reply(client)


def connection(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def reply(client: socket.socket) -> Reply:
    response = HTTPResponse(client)
    response.begin()
    return Reply(response)
