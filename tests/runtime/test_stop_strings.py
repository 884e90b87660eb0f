"""Text ends before the first stop string, and is given out as soon as it is certain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_edge.runtime.stop_strings import StopStrings

LETTERS = st.text("ab", max_size=6)
STOP = st.lists(st.text("ab", min_size=1, max_size=4), max_size=3)


def cut(text: str, stop: list[str]) -> str:
    """The text before the earliest occurrence of any stop string."""
    return text[: min((text.find(word) for word in stop if word in text), default=len(text))]


@given(st.lists(LETTERS), STOP)
def test_the_text_ends_before_the_first_stop_string(pieces: list[str], stop: list[str]) -> None:
    text = StopStrings(stop)
    released = [text.push(piece) for piece in pieces]
    assert "".join(released) + text.flush() == cut("".join(pieces), stop)
    assert text.found == any(word in "".join(pieces) for word in stop)


@given(st.lists(LETTERS), STOP, LETTERS)
def test_nothing_is_held_back_that_is_certain(
    pieces: list[str], stop: list[str], more: str
) -> None:
    text = StopStrings(stop)
    released = "".join(text.push(piece) for piece in pieces)
    whole = "".join(pieces)
    continuations = [whole, whole + more, *(whole + word[i:] for word in stop for i in range(4))]
    certain = min((cut(continued, stop) for continued in continuations), key=len)
    assert cut(whole + more, stop).startswith(released)
    assert len(released) >= len(certain)


@given(st.lists(LETTERS), STOP)
def test_an_end_is_told_at_once(pieces: list[str], stop: list[str]) -> None:
    """Unless another stop string may have begun before the one that is complete."""
    text = StopStrings(stop)
    whole = ""
    for piece in pieces:
        whole += piece
        text.push(piece)
        before = cut(whole, stop)
        starts = [whole[i:] for i in range(len(before))]
        open_before = any(word.startswith(rest) for word in stop for rest in starts)
        assert text.found == (before != whole and not open_before)
        if text.found:
            break


def test_nothing_comes_after_the_end() -> None:
    text = StopStrings(["stop"])
    assert [text.push(piece) for piece in ("go s", "to", "p here", "more")] == ["go ", "", "", ""]
    assert text.found
    assert text.flush() == ""


@pytest.mark.parametrize("piece", ["", "a", "words and words"])
def test_without_stop_strings_all_is_certain(piece: str) -> None:
    text = StopStrings([])
    assert text.push(piece) == piece
    assert not text.found
