"""Requests that ask for too much are refused by name."""

from typing import Any

import pytest

from llava_edge.runtime.options import Options
from llava_edge.serve.request_limits import RequestLimits, check_options
from llava_edge.serve.wire_errors import WireError

LIMITS = RequestLimits(
    stop_strings=2,
    stop_length=5,
    schema_length=22,
    regex_length=3,
    choices=4,
    choice_length=6,
    biases=1,
)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"stop": ("12345", "1"), "logit_bias": {7: 1.0}},
        {"schema": {"enum": [1234567890]}},
        {"regex": "123"},
        {"choices": ("123456", "2", "3", "4")},
    ],
)
def test_as_much_as_is_allowed_passes(asked: dict[str, Any]) -> None:
    check_options(Options(**asked), LIMITS)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"stop": ("1", "2", "3")}, "stop"),
        ({"stop": ("1", "123456")}, "stop"),
        ({"schema": {"enum": [12345678901]}}, "schema"),
        ({"regex": "1234"}, "regex"),
        ({"choices": ("1", "2", "3", "4", "5")}, "choices"),
        ({"choices": ("1234567",)}, "choices"),
        ({"logit_bias": {1: 1.0, 2: 1.0}}, "logit_bias"),
    ],
)
def test_more_is_refused(asked: dict[str, Any], name: str) -> None:
    with pytest.raises(WireError) as caught:
        check_options(Options(**asked), LIMITS)
    assert (caught.value.status, caught.value.param) == (400, name)
    assert caught.value.message.startswith(name)
