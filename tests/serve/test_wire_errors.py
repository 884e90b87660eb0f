"""Errors have the shape that OpenAI's clients read."""

import asyncio
import json
from typing import Any

from llava_edge.serve.wire_errors import WireError, send_error


def test_an_error_is_a_whole_response() -> None:
    error = WireError(
        404, "No \u201cmodel\u201d.", code="x", param="model", headers={"Retry-After": "1"}
    )
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(send_error(error, send))
    start, body = sent
    headers = dict(start["headers"])
    assert start["status"] == 404
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"retry-after"] == b"1"
    assert int(headers[b"content-length"]) == len(body["body"])
    assert json.loads(body["body"]) == {
        "error": {
            "message": "No \u201cmodel\u201d.",
            "type": "invalid_request_error",
            "param": "model",
            "code": "x",
        }
    }
