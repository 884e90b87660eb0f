"""Answers as Ollama's clients read them: lines of JSON, of which the last has the figures."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from time import perf_counter_ns
from typing import Any

import msgspec

from llava_edge.runtime.answer import Piece, Timings
from llava_edge.serve.completion_reply import finish_reason
from llava_edge.serve.served_model import ServedModel
from llava_edge.serve.wire_errors import WireError

Words = Callable[[str], dict[str, Any]]


def chat_words(text: str) -> dict[str, Any]:
    """Words of an answer of /api/chat."""
    return {"message": {"role": "assistant", "content": text}}


def generate_words(text: str) -> dict[str, Any]:
    """Words of an answer of /api/generate."""
    return {"response": text}


class OllamaReply:
    """The lines of an answer to a question that came at `asked`, by time.perf_counter_ns."""

    media_type = "application/x-ndjson"
    ping = b" "  # which JSON allows before the next line

    def __init__(self, served: ServedModel, words: Words, asked: int) -> None:
        self._served = served
        self._words = words
        self._asked = asked

    def whole(self, pieces: Sequence[Piece]) -> bytes:
        """The one line of a reply to a request with `"stream": false`."""
        text = "".join(piece.text for piece in pieces)
        return self._line(text, *pieces, done=True, **self._figures(pieces[-1]))

    def nothing(self, reason: str) -> bytes:
        """The reply to a request that asks nothing, by which clients have a model loaded."""
        return self._line("", done=True, done_reason=reason)

    def begin(self) -> Iterator[bytes]:
        """Nothing."""
        yield from ()

    def tell(self, piece: Piece) -> Iterator[bytes]:
        """A piece's words."""
        if piece.text or piece.logprobs:
            yield self._line(piece.text, piece, done=False)

    def end(self, last: Piece) -> Iterator[bytes]:
        """Why the answer has ended, and what it took."""
        yield self._line("", done=True, **self._figures(last))

    def fail(self, error: WireError) -> Iterator[bytes]:
        """A line that Ollama's clients raise."""
        yield msgspec.json.encode({"error": error.message}) + b"\n"

    def _figures(self, last: Piece) -> dict[str, Any]:
        total, counts = perf_counter_ns() - self._asked, _counts(last.timings)
        computed = counts["prompt_eval_duration"] + counts["eval_duration"]
        return {
            "done_reason": finish_reason(last.finish),
            "total_duration": total,
            "load_duration": max(0, total - computed),  # waiting for the model, as Ollama has it
            **counts,
        }

    def _line(self, text: str, *pieces: Piece, **fields: Any) -> bytes:
        line = {"model": self._served.id, "created_at": timestamp(), **self._words(text), **fields}
        tokens = [token for piece in pieces for token in piece.logprobs]
        if tokens:
            line["logprobs"] = self._served.texts.logprobs(tokens)
        return msgspec.json.encode(line) + b"\n"


def _counts(timings: Timings) -> dict[str, int]:
    """Tokens and nanoseconds; clients divide them to get tokens a second."""
    said, speed = timings.generated_tokens, timings.tokens_per_second
    read = timings.encode_seconds + timings.prefill_seconds
    return {
        "prompt_eval_count": timings.prompt_tokens,
        "prompt_eval_duration": int(read * 1e9),
        "eval_count": said,
        "eval_duration": int(said / speed * 1e9) if speed else 0,
    }


def timestamp(seconds: float | None = None) -> str:
    """A time as RFC 3339 writes it; now, where none is given."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat().replace("+00:00", "Z")
