"""A request of whichever API, as the server answers it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from llava_edge.runtime.answer import Piece
from llava_edge.serve.completion_request import CompletionRequest
from llava_edge.serve.error_replies import as_wire_error
from llava_edge.serve.served_model import ServedModel
from llava_edge.serve.tell_answer import Teller
from llava_edge.serve.wire_errors import WireError


@dataclass(frozen=True, kw_only=True)
class ApiRequest:
    """A request as a chat completion, and how its answer is written.

    - whole: the body of a reply that is sent at once, or else, with `stream`,
    - events: what writes one that is sent as it comes.
    - nothing: the body of a reply where there are no messages, if that is no error.
    - places: where each message stands in the request, for errors.
    - names: what the API calls the fields of a chat completion, where it has names of its own.
    """

    asked: CompletionRequest
    stream: bool
    whole: Callable[[ServedModel, Sequence[Piece]], bytes]
    events: Callable[[ServedModel], Teller]
    places: Sequence[str]
    nothing: Callable[[ServedModel], bytes] | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def refusal(self, error: Exception) -> WireError:
        """An error as the API's clients read it."""
        refusal = as_wire_error(error)
        if refusal.param is not None:
            refusal.param = self.names.get(refusal.param, refusal.param)
        return refusal
