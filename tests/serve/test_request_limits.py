"""Requests that ask for too much are refused by name."""

from typing import Any

import pytest

from llava_edge.serve.request_limits import RequestLimits
from llava_edge.serve.wire_errors import WireError

LIMITS = RequestLimits(
    stop_strings=2,
    stop_length=5,
    schema_bytes=7,
    regex_length=3,
    choices=4,
    choice_length=6,
    biases=1,
)


def test_as_much_as_is_allowed_passes() -> None:
    LIMITS.check()
    LIMITS.check(
        n=1,
        stop=["12345", ""],
        schema=b"1234567",
        regex="123",
        choices=["123456"] * 4,
        logit_bias={"7": 1.0},
    )


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"n": 2}, "n"),
        ({"n": 0}, "n"),
        ({"n": -1}, "n"),
        ({"stop": ["a"] * 3}, "stop"),
        ({"stop": ["a", "123456"]}, "stop"),
        ({"schema": b"12345678"}, "response_format"),
        ({"regex": "1234"}, "structured_outputs"),
        ({"choices": ["a"] * 5}, "structured_outputs"),
        ({"choices": ["1234567"]}, "structured_outputs"),
        ({"logit_bias": {"1": 1.0, "2": 1.0}}, "logit_bias"),
    ],
)
def test_more_is_refused(asked: dict[str, Any], param: str) -> None:
    with pytest.raises(WireError) as caught:
        LIMITS.check(**asked)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert param in caught.value.message
