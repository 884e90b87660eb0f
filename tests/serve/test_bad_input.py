"""Whatever is sent: one clear error with the right status, and the next request works."""

import json
import struct
import zlib
from base64 import b64encode
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from running_server import Reply, ask
from serving import Served

GOOD = {"messages": [{"role": "user", "content": "What?"}], "max_tokens": 2}
BODIES = {
    "nothing": b"",
    "half": b'{"messages": [',
    "no text": b"\xff\xfe{}",
    "two": json.dumps(GOOD).encode() + b"{}",
    "NaN": json.dumps({**GOOD, "temperature": float("nan")}).encode(),
    "infinity": json.dumps({**GOOD, "temperature": float("inf")}).encode(),
    "beyond floats": b'{"messages": [{"role": "user", "content": "x"}], "temperature": 1e999}',
    "a huge whole number": b'{"messages": [{"role": "user", "content": "x"}], "top_k": %b}'
    % (b"9" * 5000),
    "half a character": rb'{"messages": [{"role": "user", "content": "\ud800"}]}',
    "deep": b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a list": b"[]",
    "null": b"null",
    "no messages": b"{}",
}


def post(server: Served, body: bytes) -> Reply:
    headers = [("Content-Type", "application/json")]
    return ask(server.port, "/v1/chat/completions", headers, method="POST", body=body)


def ask_about(server: Served, data: bytes) -> Reply:
    url = "data:image/png;base64," + b64encode(data).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What?"}]
    body: Any = {**GOOD, "messages": [{"role": "user", "content": content}]}
    return post(server, json.dumps(body).encode())


def png(width: int, height: int) -> bytes:
    file = BytesIO()
    Image.effect_noise((width, height), 90).save(file, "PNG")
    return file.getvalue()


def claiming(width: int, height: int) -> bytes:
    """A small PNG whose header says that it is large."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    plain = png(3, 3)
    return plain[:12] + header + struct.pack(">I", zlib.crc32(header)) + plain[33:]


def is_refused(reply: Reply) -> None:
    assert reply.status == 400
    assert reply.error["type"] == "invalid_request_error"
    message = reply.error["message"]
    assert message.endswith(".") and "\n" not in message and " at 0x" not in message


@pytest.mark.parametrize("name", BODIES)
def test_bodies(server: Served, name: str) -> None:
    is_refused(post(server, BODIES[name]))
    assert post(server, json.dumps(GOOD).encode()).status == 200


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<!DOCTYPE html><p>Not found", id="a page"),
        pytest.param(b"GIF89a", id="a beginning"),
        pytest.param(png(300, 200)[:9000], id="half"),
        pytest.param(claiming(40_000, 40_000), id="a bomb"),
        pytest.param(claiming(300, 200), id="a lie"),
    ],
)
def test_pictures(server: Served, data: bytes) -> None:
    is_refused(ask_about(server, data))
    assert post(server, json.dumps(GOOD).encode()).status == 200


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (3, 3)])
def test_small_pictures_are_answered(server: Served, size: tuple[int, int]) -> None:
    assert ask_about(server, png(*size)).status == 200
