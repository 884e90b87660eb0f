"""Every fault as the error that a client reads: the one place that chooses its status."""

import logging

from starlette.exceptions import HTTPException

from llava_edge.errors import LlavaEdgeError, LongPromptError, PictureError, PromptError, UsageError
from llava_edge.serve.wire_errors import WireError
from llava_edge.serve.wire_pictures import picture_refusal

_NO_RETRY = {"x-should-retry": "false"}  # the same would be computed again, and fail again
_PATHS = {
    404: "There is no such path here; the guide to serving lists what there is.",
    405: "The path does not take this method.",
}

_log = logging.getLogger(__name__)


def as_wire_error(error: Exception) -> WireError:
    """What the client is told of an error; one that nobody expected is logged."""
    if isinstance(error, WireError):
        return error
    if isinstance(error, HTTPException):
        return _of_path(error)
    if isinstance(error, PictureError):
        return picture_refusal(error, place="messages")
    if isinstance(error, PromptError):
        code = "context_length_exceeded" if isinstance(error, LongPromptError) else "invalid_prompt"
        return WireError(400, str(error), code=code, param="messages")
    if isinstance(error, UsageError):
        return WireError(400, str(error))
    if isinstance(error, LlavaEdgeError):
        return WireError(500, str(error), "server_error", "failed", headers=_NO_RETRY)
    _log.error("A request failed for a reason that nobody expected.", exc_info=error)
    return WireError(
        500,
        "The server failed; its log says why.",
        "server_error",
        "unexpected",
        headers=_NO_RETRY,
    )


def _of_path(error: HTTPException) -> WireError:
    kind = "not_found_error" if error.status_code == 404 else "invalid_request_error"
    message = _PATHS.get(error.status_code, "The request cannot be answered.")
    return WireError(error.status_code, message, kind, headers=error.headers)
