"""Base64 is read as programs write it, and never guessed."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_edge.core.data_url import from_base64, from_data_url, is_data_url
from llava_edge.errors import PictureError


@given(st.binary(max_size=200), st.booleans(), st.booleans(), st.integers(1, 80))
def test_both_alphabets_padded_or_not_in_lines(
    content: bytes, for_urls: bool, padded: bool, line: int
) -> None:
    encode = base64.urlsafe_b64encode if for_urls else base64.b64encode
    digits = encode(content).decode()
    if not padded:
        digits = digits.rstrip("=")
    lines = "\r\n".join(digits[start : start + line] for start in range(0, len(digits), line))
    assert from_base64(lines) == content
    assert from_data_url(f"data:image/jpeg;charset=x;base64,{lines}") == content
    escaped = digits.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    assert from_data_url(f"DATA:;BASE64,{escaped}") == content


@given(st.binary(max_size=50))
def test_without_base64_characters_are_escaped(content: bytes) -> None:
    assert from_data_url("data:," + "".join(f"%{byte:02x}" for byte in content)) == content


@pytest.mark.parametrize("text", ["!", "ab!d", "abcde", "a", "äbcd", "ab\0c", "ab.c"])
def test_what_is_no_base64(text: str) -> None:
    with pytest.raises(PictureError, match="base64 is damaged or cut off; encode"):
        from_base64(text)


def test_a_url_without_data() -> None:
    with pytest.raises(PictureError, match="has no comma before its data"):
        from_data_url("data:image/png;base64")


def test_paths_are_no_data_urls() -> None:
    assert is_data_url("data:image/png;base64,") and is_data_url("Data:,")
    assert not any(map(is_data_url, ("data.png", "data/a.png", "./data:a.png", "")))
