"""POST /v1/chat/completions."""

from collections.abc import Sequence

from llava_edge.runtime.answer import Piece
from llava_edge.serve.api_request import ApiRequest
from llava_edge.serve.completion_reply import CompletionEvents, CompletionReply
from llava_edge.serve.completion_request import CompletionRequest
from llava_edge.serve.json_body import decoded
from llava_edge.serve.served_model import ServedModel


def read_completion(body: bytes) -> ApiRequest:
    """A request to the path; raises WireError."""
    asked = decoded(body, CompletionRequest)

    def whole(served: ServedModel, pieces: Sequence[Piece]) -> bytes:
        return CompletionReply(served, asked).whole(pieces)

    return ApiRequest(
        asked=asked,
        stream=bool(asked.stream),
        whole=whole,
        events=lambda served: CompletionEvents(served, asked),
        places=[f"messages[{number}]" for number in range(len(asked.messages))],
    )
