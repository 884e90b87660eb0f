"""JSON from strangers: depth and parts are counted right, and every fault is one sentence."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_edge.serve.json_body import check_structure, decoded
from llava_edge.serve.wire_errors import WireError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a"\\[]{}é\n,:', max_size=8),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='"\\[{', max_size=4), inner),
)


class Turn(msgspec.Struct):
    role: str
    content: str | list[str]


class Question(msgspec.Struct):
    messages: list[Turn]
    seed: int | None = None


def depth(value: object) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(VALUES, st.booleans())
def test_the_depth_is_that_of_what_is_read(value: object, ascii: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii).encode()
    check_structure(text, depth(value))
    if depth(value):
        with pytest.raises(WireError) as caught:
            check_structure(text, depth(value) - 1)
        assert caught.value.code == "json_depth"


@given(VALUES)
def test_what_is_json_is_read(value: object) -> None:
    assert decoded(json.dumps(value).encode(), object) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"messages": []} x',
        b'{"messages": [],}',
        b"{'messages': []}",
        b'{"messages": [], "x": NaN}',
        b'{"messages": [], "x": -Infinity}',
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"messages": [{"role": "user", "content": "\xff"}]}',
        b'{"messages": [{"role": "user", "content": "\x00"}]}',
        '{"messages": []}'.encode("utf-16"),
    ],
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(WireError, match="not JSON") as caught:
        decoded(body, Question)
    assert caught.value.status == 400


def test_depth_is_refused_also_where_it_was_not_counted() -> None:
    for start in (b'{"messages": [{"x": ', b'{"messages": [], "x": '):
        with pytest.raises(WireError, match="not JSON"):
            decoded(start + b"[" * 100_000, Question)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"[]", None),
        (b"{}", None),
        (b'{"messages": {}}', "messages"),
        (b'{"messages": [{"role": 1, "content": ""}]}', "messages[0].role"),
        (b'{"messages": [], "seed": "1"}', "seed"),
        (b'{"messages": [], "seed": 1.5}', "seed"),
        (b'{"messages": [], "seed": 1e999}', "seed"),
        (b'{"messages": [], "seed": ' + b"9" * 5000 + b"}", "seed"),
    ],
    ids=range(8),
)
def test_a_wrong_value_is_named_by_its_place(body: bytes, param: str | None) -> None:
    with pytest.raises(WireError) as caught:
        decoded(body, Question)
    assert caught.value.param == param
    assert (param or "The body") in caught.value.message
    assert "$" not in caught.value.message


def test_unknown_fields_are_no_fault() -> None:
    assert decoded(b'{"messages": [], "user": {"a": [1]}}', Question) == Question([])
