"""JSON from strangers: its depth is known before it is read, and every fault is one sentence."""

from typing import TypeVar

import msgspec
import numpy as np

from llava_edge.serve.wire_errors import WireError

T = TypeVar("T")

_MAX_MARKS = 1_000_000  # a few bytes of JSON become a hundred in memory
_MARKS = b'"[]{},'
_REST = bytes(set(range(256)) - set(_MARKS))
_STEPS = np.zeros(256, dtype=np.int8)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1


def check_structure(body: bytes, max_depth: int) -> None:
    """Refuse JSON text that is nested too deeply or has too many parts, without reading it.

    Of text that is not JSON it is right up to the first fault, where a reader stops. Raises
    WireError.
    """
    if b"\\" in body:  # which costs less to look for, and a picture's text has none
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")  # both stand in strings only
    text = body.translate(None, _REST)
    if len(text) > _MAX_MARKS:
        raise WireError(400, "The JSON has more than a million parts; send less.", code="json_size")
    marks = np.frombuffer(text, dtype=np.uint8)
    steps = _STEPS[marks]
    steps[np.logical_xor.accumulate(marks == ord('"'))] = 0  # brackets in strings
    if np.cumsum(steps, dtype=np.int32).max(initial=0) > max_depth:
        raise WireError(400, f"The JSON is nested more than {max_depth} deep.", code="json_depth")


def decoded(body: bytes, kind: type[T]) -> T:
    """JSON text as `kind` (msgspec types); raises WireError, with `param` where that is known.

    NaN, infinities, numbers beyond float64, lone surrogates and text after the end are refused.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        param = place.removesuffix("`").removeprefix(".") or None
        raise WireError(400, _sentence(message, param), param=param) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise WireError(400, "The body is not JSON; send one JSON object in UTF-8.") from None


def _sentence(message: str, param: str | None) -> str:
    """msgspec's "Expected `str`, got `int`", with the place that it is said of."""
    return f"{param or 'The body'}: {message[:1].lower()}{message[1:]}."
