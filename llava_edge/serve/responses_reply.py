"""Answers as OpenAI's responses, whole and as events."""

import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from llava_edge.runtime.answer import Piece, Timings
from llava_edge.serve.completion_reply import timings_of
from llava_edge.serve.responses_request import ResponsesRequest
from llava_edge.serve.served_model import ServedModel
from llava_edge.serve.wire_errors import WireError

_PLACE = {"output_index": 0, "content_index": 0}  # one message, with one part


class ResponseReply:
    """A response: what stays the same of it, and what it is once it has ended."""

    def __init__(self, served: ServedModel, asked: ResponsesRequest) -> None:
        self.message_id = f"msg_{secrets.token_hex(24)}"
        form = asked.text.format if asked.text and asked.text.format else None
        self._shared = {
            "id": f"resp_{secrets.token_hex(24)}",
            "object": "response",
            "created_at": int(time.time()),
            "model": served.id,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "metadata": asked.metadata or {},
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "store": False,
            "temperature": asked.temperature or 0,
            "text": {"format": form or {"type": "text"}},
            "tool_choice": "none",
            "tools": [],
            "top_p": 1 if asked.top_p is None else asked.top_p,
            "truncation": "disabled",
        }

    def whole(self, pieces: Sequence[Piece]) -> bytes:
        """The reply to a request without `stream`."""
        return msgspec.json.encode(self.ended("".join(piece.text for piece in pieces), pieces[-1]))

    def begun(self) -> dict[str, Any]:
        """The response before its first word."""
        return self._response("in_progress", [])

    def ended(self, text: str, last: Piece) -> dict[str, Any]:
        """The response with its words; whatever cut it short is `max_output_tokens`."""
        status = status_of(last)
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return self._response(
            status,
            [self.message(status, [part_of(text)])],
            incomplete_details=cut,
            usage=usage_of(last.timings),
            timings=timings_of(last.timings),
        )

    def failed(self, error: WireError) -> dict[str, Any]:
        """The response in whose middle something went wrong."""
        told = {"code": "server_error", "message": error.message}
        return self._response("failed", [], error=told)

    def message(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        """The one item of the output."""
        return {
            "id": self.message_id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        }

    def _response(self, status: str, output: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
        ending = {"error": None, "incomplete_details": None, "usage": None}
        return {**self._shared, "status": status, "output": output, **ending, **fields}


class ResponseEvents:
    """The events of a reply to a request with `stream`, each with its type and number."""

    media_type = "text/event-stream; charset=utf-8"
    ping = b": ping\n\n"

    def __init__(self, served: ServedModel, asked: ResponsesRequest) -> None:
        self._reply = ResponseReply(served, asked)
        self._number = 0
        self._texts = list[str]()

    def begin(self) -> Iterator[bytes]:
        """The response, its message and its part, all empty."""
        response = self._reply.begun()
        yield self._event("response.created", response=response)
        yield self._event("response.in_progress", response=response)
        item = self._reply.message("in_progress", [])
        yield self._event("response.output_item.added", output_index=0, item=item)
        yield self._of_part("response.content_part.added", part=part_of(""))

    def tell(self, piece: Piece) -> Iterator[bytes]:
        """A piece's words."""
        if piece.text:
            self._texts.append(piece.text)
            yield self._of_part("response.output_text.delta", delta=piece.text, logprobs=[])

    def end(self, last: Piece) -> Iterator[bytes]:
        """Part, message and response once more, as they have become."""
        text, status = "".join(self._texts), status_of(last)
        yield self._of_part("response.output_text.done", text=text, logprobs=[])
        yield self._of_part("response.content_part.done", part=part_of(text))
        item = self._reply.message(status, [part_of(text)])
        yield self._event("response.output_item.done", output_index=0, item=item)
        yield self._event(f"response.{status}", response=self._reply.ended(text, last))

    def fail(self, error: WireError) -> Iterator[bytes]:
        """What OpenAI's clients raise or hand on, and the response that has failed."""
        told = {"code": error.code or error.type, "message": error.message, "param": error.param}
        yield self._event("error", **told)
        yield self._event("response.failed", response=self._reply.failed(error))

    def _of_part(self, kind: str, **fields: Any) -> bytes:
        return self._event(kind, item_id=self._reply.message_id, **_PLACE, **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        data = msgspec.json.encode({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def status_of(last: Piece) -> str:
    """How an answer has ended, in the words of a response."""
    return "completed" if last.finish == "stop" else "incomplete"


def part_of(text: str) -> dict[str, Any]:
    """Words as the part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def usage_of(timings: Timings) -> dict[str, Any]:
    """Tokens as a response counts them; `image_tokens` is what chat completions call so."""
    return {
        "input_tokens": timings.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": timings.cached_tokens,
            "cache_write_tokens": 0,
            "image_tokens": timings.image_tokens,
        },
        "output_tokens": timings.generated_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": timings.prompt_tokens + timings.generated_tokens,
    }
