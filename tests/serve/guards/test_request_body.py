"""Bodies: whole before anything reads them, as large and as slow as is allowed, and JSON."""

import json
import threading
from collections.abc import Iterator
from hashlib import sha256

import pytest
from running_server import ask, connection, echo, guarded_echo, reply, serving
from starlette.types import Receive, Scope, Send

from llava_edge.serve.guards.guard_settings import GuardSettings
from llava_edge.serve.guards.guarded import guarded
from llava_edge.serve.json_body import decoded
from llava_edge.serve.wire_errors import WireError, send_error

JSON = ("Content-Type", "application/json")
HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
)
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
MOST = 1000


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with guarded_echo(body_bytes=MOST, grace_seconds=1, body_seconds=2, discard_seconds=1) as port:
        yield port


@pytest.fixture(scope="module")
def default() -> Iterator[int]:
    """The port of a server with the limits that nobody changed."""
    with guarded_echo() as port:
        yield port


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON", "application/json; charset=utf-8"]
)
def test_json_is_handed_on_whole(port: int, kind: str) -> None:
    body = json.dumps({"words": "x" * 900}).encode()
    answered = ask(port, headers=[("Content-Type", kind)], method="POST", body=body)
    assert answered.json["sha256"] == sha256(body).hexdigest()


def test_chunks_are_handed_on_whole(port: int) -> None:
    body = json.dumps(["word"] * 99).encode()
    with connection(port) as client:
        client.sendall(CHUNKED)
        for byte in range(0, len(body), 7):
            client.sendall(chunk(body[byte : byte + 7]))
        client.sendall(b"0\r\n\r\n")
        assert reply(client).json["sha256"] == sha256(body).hexdigest()


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Content-Type", "")],
        [("Content-Type", "text/plain")],
        [("Content-Type", "text/plain; application/json")],
        [("Content-Type", "multipart/form-data; boundary=x")],
        [("Content-Type", "application/x-www-form-urlencoded")],
        [("Content-Type", "application/jsonx")],
        [("Content-Type", "text/plain, application/json")],
        [JSON, ("Content-Type", "text/plain")],
        [JSON, ("Content-Encoding", "gzip")],
    ],
)
def test_other_types_are_refused(port: int, headers: list[tuple[str, str]]) -> None:
    for body in (b"{}", None):
        refused = ask(port, headers=headers, method="POST", body=body)
        assert refused.status == 415
        assert refused.error["type"] == "invalid_request_error"


def test_reading_needs_no_type(port: int) -> None:
    assert ask(port).json["size"] == 0
    assert ask(port, body=b"{}").json["size"] == 2


def test_a_body_of_the_most_bytes_is_read_and_one_more_is_not(port: int) -> None:
    largest = b'"%s"' % (b"x" * (MOST - 2))
    assert ask(port, headers=[JSON], method="POST", body=largest).json["size"] == MOST
    refused = ask(port, headers=[JSON], method="POST", body=largest + b" ")
    assert refused.status == 413
    assert refused.headers["connection"] == "close"
    assert refused.error["code"] == "body_too_large"


def test_one_that_waits_for_leave_gets_none(port: int) -> None:
    with connection(port) as client:
        client.sendall(HEAD + b"Content-Length: 2000000\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(2**16).startswith(b"HTTP/1.1 413 ")


def test_100_megabytes_without_a_length_are_refused(default: int) -> None:
    part = chunk(b" " * 2**20)
    with connection(default) as client:
        client.sendall(CHUNKED)
        for _ in range(100):
            client.sendall(part)
        client.sendall(b"0\r\n\r\n")
        assert reply(client).status == 413
    assert ask(default).status == 200


def test_a_body_without_end_is_refused(port: int) -> None:
    part = chunk(b" " * 2**16)
    with connection(port) as client:
        client.sendall(CHUNKED)
        with pytest.raises(ConnectionError):
            while True:
                client.sendall(part)
    assert ask(port).status == 200


@pytest.mark.parametrize("start", [b"", b"{", b'{"words": "'])
def test_a_body_that_stops_coming_is_refused(port: int, start: bytes) -> None:
    with connection(port) as client:
        client.sendall(HEAD + b"Content-Length: 99\r\n\r\n" + start)
        refused = reply(client)
    assert refused.status == 408
    assert refused.headers["connection"] == "close"
    assert refused.headers["x-should-retry"] == "false"


def test_a_body_that_trickles_is_refused() -> None:
    with guarded_echo(grace_seconds=0.5, least_rate=100) as port, connection(port) as client:
        client.sendall(CHUNKED)
        stopped = threading.Event()

        def trickle() -> None:
            while not stopped.wait(0.02):
                client.sendall(chunk(b" "))  # 50 bytes a second

        thread = threading.Thread(target=trickle)
        thread.start()
        status = client.recv(12)
        stopped.set()
        thread.join()
    assert status == b"HTTP/1.1 408"


@pytest.mark.parametrize("rest", [b"zz\r\n{}\r\n", b"-2\r\n{}\r\n", b"2\r\n{}xx0\r\n\r\n", b"\r\n"])
def test_broken_chunks_are_refused(port: int, rest: bytes) -> None:
    with connection(port) as client:
        client.sendall(CHUNKED + rest)
        assert reply(client).status == 400
    assert ask(port).status == 200


def test_a_client_that_goes_away_reaches_nothing() -> None:
    reached = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached.set()
        await echo(scope, receive, send)

    with serving(guarded(app, GuardSettings())) as other:
        with connection(other) as client:
            client.sendall(HEAD + b"Content-Length: 99\r\n\r\n{")
        with connection(other) as client:
            client.sendall(CHUNKED + b"2\r\n{")
    assert not reached.is_set()


def test_a_client_that_goes_away_later_is_noticed_by_the_app() -> None:
    reached, left = threading.Event(), threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["body"] == b"{}"
        reached.set()
        assert (await receive())["type"] == "http.disconnect"
        left.set()

    with serving(guarded(app, GuardSettings())) as port:
        with connection(port) as client:
            client.sendall(HEAD + b"Content-Length: 2\r\n\r\n{}")
            assert reached.wait(60)
        assert left.wait(60)


def test_a_refused_client_may_ask_again_on_its_connection(port: int) -> None:
    with connection(port) as client:
        client.sendall(HEAD.replace(b"/json", b"/xml") + b"Content-Length: 2\r\n\r\n{}")
        assert reply(client).status == 415
        client.sendall(HEAD + b"Content-Length: 2\r\n\r\n{}")
        assert reply(client).status == 200


def test_one_that_is_refused_while_it_sends_reads_why() -> None:
    body = b"[%s]" % (b" " * 10**7)
    with guarded_echo(keys=("key-of-a-test-0123456789",)) as port:
        assert ask(port, headers=[JSON], method="POST", body=body).status == 401


def test_depth_and_parts_are_refused_before_anything_is_read(default: int) -> None:
    deep = ask(default, headers=[JSON], method="POST", body=b"[" * 100_000)
    assert (deep.status, deep.error["code"]) == (400, "json_depth")
    wide = ask(default, headers=[JSON], method="POST", body=b"[%s0]" % (b"0," * 10**6))
    assert (wide.status, wide.error["code"]) == (400, "json_size")


def test_what_is_no_json_ends_in_one_error() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            decoded((await receive())["body"], dict[str, float])
        except WireError as error:
            await send_error(error, send)

    with serving(guarded(app, GuardSettings())) as port:
        for body in (b"", b"{", b"NaN", b'{"n": Infinity}', b"9" * 10**6, b"\xff"):
            refused = ask(port, headers=[JSON], method="POST", body=body)
            assert refused.status == 400
            assert refused.error["type"] == "invalid_request_error"
