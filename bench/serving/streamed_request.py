"""A request to a server of OpenAI's chat completions, timed as its words arrive."""

import json
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from llava_edge.errors import LlavaEdgeError


@dataclass(frozen=True)
class TimedAnswer:
    """Seconds from the call to the first words and to the end, and how many tokens there are."""

    first: float
    seconds: float
    tokens: int
    cached_tokens: int

    @property
    def tokens_per_second(self) -> float:
        """After the first token; 0 where there are no more."""
        rest = self.seconds - self.first
        return (self.tokens - 1) / rest if self.tokens > 1 and rest > 0 else 0.0


class ChatServer:
    """A server by its address, such as http://127.0.0.1:8080, and the model that is asked."""

    def __init__(self, url: str, model: str = "", key: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise LlavaEdgeError(f"{url} is no address of a server; give http://HOST:PORT.")
        self._place = parts.hostname, parts.port or 80
        self._headers = {"content-type": "application/json"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"
        self._model = model

    def ask(
        self, prompt: str, picture: bytes | None, max_tokens: int, stop_after: int | None = None
    ) -> TimedAnswer:
        """Ask, and read the answer to its end; `stop_after` so many events the client goes away.

        Raises LlavaEdgeError where the server refuses or breaks off.
        """
        body = json.dumps(self._body(prompt, picture, max_tokens))
        start = time.perf_counter()
        connection = HTTPConnection(*self._place, timeout=600)
        try:
            connection.request("POST", "/v1/chat/completions", body, self._headers)
            return self._read(connection.getresponse(), start, stop_after)
        except (OSError, HTTPException, ValueError) as error:
            raise LlavaEdgeError(
                f"The server at {self._place[0]}:{self._place[1]} gave no answer ({error}); look "
                "at what it says itself."
            ) from error
        finally:
            connection.close()

    def _body(self, prompt: str, picture: bytes | None, max_tokens: int) -> dict[str, Any]:
        content: list[dict[str, Any]] = [{"type": "text", "text": prompt}]
        if picture is not None:
            url = "data:image/jpeg;base64," + b64encode(picture).decode()
            content.insert(0, {"type": "image_url", "image_url": {"url": url}})
        return {
            "model": self._model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def _read(self, response: HTTPResponse, start: float, stop_after: int | None) -> TimedAnswer:
        if response.status != 200:
            raise ValueError(f"status {response.status}: {response.read(500).decode()}")
        first, usage = 0.0, dict[str, Any]()
        for number, event in enumerate(_events(response)):
            if stop_after is not None and number >= stop_after:
                break
            if "error" in event:
                raise ValueError(str(event["error"]))
            words = any(choice["delta"].get("content") for choice in event["choices"])
            if words and not first:
                first = time.perf_counter() - start
            usage = event.get("usage") or usage
        seconds = time.perf_counter() - start
        details = usage.get("prompt_tokens_details") or {}
        tokens, cached = usage.get("completion_tokens", 0), details.get("cached_tokens", 0)
        return TimedAnswer(first or seconds, seconds, tokens, cached)


def _events(response: HTTPResponse) -> Iterator[dict[str, Any]]:
    """The JSON of each server-sent event."""
    for line in response:
        if line.startswith(b"data: ") and line.strip() != b"data: [DONE]":
            yield json.loads(line[6:])
