"""Of a picture's rows those are kept that differ most, whatever their lengths, in their order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_edge.core.array_types import Floats
from llava_edge.errors import UsageError
from llava_edge.runtime.token_reduction import diverse


@st.composite
def pictures(draw: st.DrawFn) -> tuple[Floats, int]:
    """Rows [T, D], in too many directions for near ties, and how many of them to keep."""
    total, width = draw(st.integers(1, 24)), draw(st.integers(16, 32))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = rng.standard_normal((total, width)).astype(np.float32)
    return rows, draw(st.integers(1, total))


def greedy(rows: Floats, count: int) -> list[int]:
    """DivPrune's definition, one distance at a time."""
    vectors = rows.astype(np.float64)

    def nearest(row: int, others: list[int]) -> float:
        cosines = [
            vectors[row]
            @ vectors[other]
            / (np.linalg.norm(vectors[row]) * np.linalg.norm(vectors[other]))
            for other in others
            if other != row
        ]
        return min((1 - cosine for cosine in cosines), default=np.inf)

    everything = list(range(len(rows)))
    kept = [max(everything, key=lambda row: nearest(row, everything))]
    while len(kept) < count:
        rest = [row for row in everything if row not in kept]
        kept.append(max(rest, key=lambda row: nearest(row, kept)))
    return sorted(kept)


@given(pictures())
def test_the_greedy_criterion(picture: tuple[Floats, int]) -> None:
    assert diverse(*picture).tolist() == greedy(*picture)


@given(pictures())
def test_so_many_in_their_order(picture: tuple[Floats, int]) -> None:
    rows, count = picture
    kept = diverse(rows, count)
    assert len(kept) == count
    assert (np.diff(kept) > 0).all()
    assert 0 <= kept[0] and kept[-1] < len(rows)


@given(pictures())
def test_as_many_as_there_are_keeps_all(picture: tuple[Floats, int]) -> None:
    rows, _ = picture
    assert diverse(rows, len(rows)).tolist() == list(range(len(rows)))


@given(pictures())
def test_fewer_are_among_more(picture: tuple[Floats, int]) -> None:
    rows, count = picture
    assert set(diverse(rows, count)) <= set(diverse(rows, min(count + 1, len(rows))))


@given(pictures(), st.integers(0, 2**32))
def test_the_lengths_of_rows_do_not_matter(picture: tuple[Floats, int], seed: int) -> None:
    rows, count = picture
    scales = 2.0 ** np.random.default_rng(seed).integers(-20, 20, (len(rows), 1))
    scaled = (rows * scales).astype(np.float32)
    assert diverse(scaled, count).tolist() == diverse(rows, count).tolist()


@given(pictures(), st.integers(1, 4), st.integers(0, 2**32))
def test_duplicates_go_first(picture: tuple[Floats, int], copies: int, seed: int) -> None:
    """As many rows as there are distinct ones are just the distinct ones."""
    rows, _ = picture
    which = np.repeat(np.arange(len(rows)), copies)
    np.random.default_rng(seed).shuffle(which)
    kept = diverse(rows[which], len(rows))
    assert sorted(which[kept]) == list(range(len(rows)))


def test_equal_rows_and_rows_of_zeros() -> None:
    assert len(diverse(np.ones((5, 3), np.float32), 3)) == 3
    assert len(diverse(np.zeros((5, 3), np.float32), 3)) == 3


@pytest.mark.parametrize("count", [-1, 0, 5, 1000])
def test_more_or_fewer_than_there_are(count: int) -> None:
    rows = np.eye(4, dtype=np.float32)
    expected = f"^image_tokens is {count:,}, but the picture has 4 image tokens; give 1 to 4[.]$"
    with pytest.raises(UsageError, match=expected):
        diverse(rows, count)
