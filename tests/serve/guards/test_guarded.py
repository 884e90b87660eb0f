"""The guards as a whole: which is asked first, and what else than requests passes them."""

import asyncio
import threading
from typing import Any

import pytest
from running_server import ask, connection, guarded_echo, serving
from starlette.types import Receive, Scope, Send

from llava_edge.serve.guards.guard_settings import GuardSettings
from llava_edge.serve.guards.guarded import guarded

KEY = "key-of-a-test-0123456789"
EVIL = ("Origin", "https://evil.example")


def test_a_guard_is_asked_only_if_those_before_it_are_content() -> None:
    with guarded_echo(keys=(KEY,), body_bytes=9) as port:
        faults: list[tuple[str, str]] = [("Content-Type", "text/plain"), EVIL]
        large = b"x" * 10

        def status(headers: list[tuple[str, str]], host: str = "localhost") -> int:
            return ask(port, headers=headers, method="POST", body=large, host=host).status

        assert status(faults, host="evil.example") == 403
        assert ask(port, headers=faults, host="evil.example").error["code"] == "host_not_allowed"
        assert ask(port, headers=faults).error["code"] == "origin_not_allowed"
        assert status(faults[:1]) == 401
        assert status([*faults[:1], ("x-api-key", KEY)]) == 415
        assert status([("Content-Type", "application/json"), ("x-api-key", KEY)]) == 413


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_the_servers_life_reaches_the_app_and_websockets_do_not(kind: str) -> None:
    reached, sent = list[str](), list[Any]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope["type"])

    async def receive() -> Any:
        raise AssertionError("nothing is waited for")

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(guarded(app, GuardSettings())({"type": kind, "headers": []}, receive, send))
    assert reached == ([kind] if kind == "lifespan" else [])
    assert sent == ([] if kind == "lifespan" else ["websocket.close"])


@pytest.mark.parametrize(
    "request_line", [b"GET / HTTP/1.1", b"POST / HTTP/1.1\r\nContent-Length: 0"]
)
def test_after_an_empty_body_the_app_hears_of_the_clients_going_alone(request_line: bytes) -> None:
    reached, heard = threading.Event(), list[str]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        reached.set()
        heard.append((await receive())["type"])

    with serving(guarded(app, GuardSettings())) as port, connection(port) as client:
        client.sendall(
            request_line + b"\r\nHost: localhost\r\nContent-Type: application/json\r\n\r\n"
        )
        assert reached.wait(60)
        client.close()
    assert heard == ["http.disconnect"]
