"""Answers as OpenAI's chat completions, with llama-server's `timings` and `prompt_progress`."""

import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from llava_edge.runtime.answer import Finish, Piece, Timings
from llava_edge.serve.completion_request import CompletionRequest
from llava_edge.serve.served_model import ServedModel
from llava_edge.serve.wire_errors import WireError


class CompletionReply:
    """The JSON that a reply's objects share: its id, time and model."""

    def __init__(self, served: ServedModel, asked: CompletionRequest) -> None:
        self._shared = {
            "id": f"chatcmpl-{secrets.token_urlsafe(18)}",
            "created": int(time.time()),
            "model": served.id,
            "system_fingerprint": served.fingerprint,
        }
        self._texts = served.texts
        self._logprobs = bool(asked.logprobs)

    def whole(self, pieces: Sequence[Piece]) -> bytes:
        """The reply to a request without `stream`."""
        last = pieces[-1]
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "".join(piece.text for piece in pieces)},
            "finish_reason": finish_reason(last.finish),
            "logprobs": self.logprobs(*pieces),
        }
        usage, timings = usage_of(last.timings), timings_of(last.timings)
        return self.encode("chat.completion", choices=[choice], usage=usage, timings=timings)

    def encode(self, kind: str, **fields: Any) -> bytes:
        """An object with what all of them have."""
        return msgspec.json.encode({"object": kind, **self._shared, **fields})

    def logprobs(self, *pieces: Piece) -> dict[str, Any] | None:
        """Of the tokens of pieces, where the request asks for them."""
        if not self._logprobs:
            return None
        tokens = (token for piece in pieces for token in piece.logprobs)
        return {"content": self._texts.logprobs(tokens)}


class CompletionEvents:
    """The server-sent events (WHATWG HTML, 9.2) of a reply to a request with `stream`."""

    media_type = "text/event-stream; charset=utf-8"
    ping = b": ping\n\n"

    def __init__(self, served: ServedModel, asked: CompletionRequest) -> None:
        options = asked.stream_options
        self._reply = CompletionReply(served, asked)
        self._progress = bool(asked.return_progress)
        self._usage = bool(options and options.include_usage)

    def begin(self) -> Iterator[bytes]:
        """Who speaks."""
        yield self._chunk({"role": "assistant", "content": ""})

    def tell(self, piece: Piece) -> Iterator[bytes]:
        """How much of the prompt has been read, until all of it has, and a piece's words."""
        if self._progress:
            progress = _progress(piece.timings)
            self._progress = progress["processed"] < progress["total"]
            yield self._chunk({}, prompt_progress=progress)
        if piece.text or piece.logprobs:
            yield self._chunk({"content": piece.text}, logprobs=self._reply.logprobs(piece))

    def end(self, last: Piece) -> Iterator[bytes]:
        """Why the answer has ended, and in the last chunk what it took."""
        reason, timings = finish_reason(last.finish), timings_of(last.timings)
        if self._usage:
            yield self._chunk({}, reason)
            usage = usage_of(last.timings)
            yield self._event(choices=[], usage=usage, timings=timings)
        else:
            yield self._chunk({}, reason, timings=timings)
        yield _event(b"[DONE]")

    def fail(self, error: WireError) -> Iterator[bytes]:
        """An object with an `error`, which OpenAI's clients raise."""
        yield _event(error.body())
        yield _event(b"[DONE]")

    def _chunk(
        self,
        delta: dict[str, str],
        finish: str | None = None,
        logprobs: dict[str, Any] | None = None,
        **fields: Any,
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
        usage = {"usage": None} if self._usage else {}
        return self._event(choices=[choice], **usage, **fields)

    def _event(self, **fields: Any) -> bytes:
        return _event(self._reply.encode("chat.completion.chunk", **fields))


def _event(data: bytes) -> bytes:
    return b"data: %b\n\n" % data


def finish_reason(finish: Finish | None) -> str:
    """Of the two reasons that clients know: whatever cuts an answer short is `length`."""
    return "stop" if finish == "stop" else "length"


def usage_of(timings: Timings) -> dict[str, Any]:
    """Tokens as OpenAI counts them."""
    return {
        "prompt_tokens": timings.prompt_tokens,
        "completion_tokens": timings.generated_tokens,
        "total_tokens": timings.prompt_tokens + timings.generated_tokens,
        "prompt_tokens_details": {
            "cached_tokens": timings.cached_tokens,
            "image_tokens": timings.image_tokens,
        },
    }


def timings_of(timings: Timings) -> dict[str, Any]:
    """What the answer took, as llama-server says it; `image_ms` is our own."""
    read = timings.prompt_tokens - timings.cached_tokens
    said, speed = timings.generated_tokens, timings.tokens_per_second
    return {
        "cache_n": timings.cached_tokens,
        "prompt_n": read,
        "prompt_ms": _milliseconds(timings.prefill_seconds),
        "prompt_per_token_ms": _milliseconds(_ratio(timings.prefill_seconds, read)),
        "prompt_per_second": _ratio(read, timings.prefill_seconds),
        "predicted_n": said,
        "predicted_ms": _milliseconds(_ratio(said - 1, speed)),
        "predicted_per_token_ms": _milliseconds(_ratio(1, speed)),
        "predicted_per_second": round(speed, 3),
        "image_ms": _milliseconds(timings.encode_seconds),
    }


def _progress(timings: Timings) -> dict[str, Any]:
    """llama-server's `prompt_progress`, in which what is cached counts as processed."""
    return {
        "total": timings.prompt_tokens,
        "cache": timings.cached_tokens,
        "processed": timings.cached_tokens + timings.prefilled_tokens,
        "time_ms": _milliseconds(timings.prefill_seconds),
    }


def _ratio(one: float, other: float) -> float:
    return round(one / other, 6) if other else 0.0


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
