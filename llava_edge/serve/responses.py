"""POST /v1/responses."""

from collections.abc import Sequence

from llava_edge.runtime.answer import Piece
from llava_edge.serve.api_request import ApiRequest
from llava_edge.serve.json_body import decoded
from llava_edge.serve.responses_reply import ResponseEvents, ResponseReply
from llava_edge.serve.responses_request import NAMES, ResponsesRequest, as_completion
from llava_edge.serve.served_model import ServedModel


def read_responses(body: bytes) -> ApiRequest:
    """A request to the path; raises WireError."""
    asked = decoded(body, ResponsesRequest)
    completion, places = as_completion(asked)

    def whole(served: ServedModel, pieces: Sequence[Piece]) -> bytes:
        return ResponseReply(served, asked).whole(pieces)

    return ApiRequest(
        asked=completion,
        stream=bool(asked.stream),
        whole=whole,
        events=lambda served: ResponseEvents(served, asked),
        places=places,
        names=NAMES,
    )
