"""Samples say which tokens follow which rows, wherever their picture stands."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from llava_edge.core.prompt import Picture, Text
from llava_edge.runtime.scoring import Sample, Targets, log_softmax, losses

PICTURE = np.full((5, 2), -1, np.float32)


def embed(ids: list[int]) -> np.ndarray:
    """A row that says its id."""
    return np.stack([np.array(ids, np.float32)] * 2, axis=1)


runs = st.lists(st.integers(0, 99), min_size=1, max_size=4)
texts = st.builds(lambda ids, learned: Text(tuple(ids), learned), runs, st.booleans())


@given(before=st.lists(texts, max_size=3), after=st.lists(texts, min_size=1, max_size=3))
def test_a_target_is_the_row_after_its_position(before: list[Text], after: list[Text]) -> None:
    sample = Sample((*before, Picture(0), *after))
    rows, targets = sample.rows(embed, PICTURE), sample.targets(len(PICTURE))
    assert (targets.positions >= 0).all()
    np.testing.assert_array_equal(rows[targets.positions + 1, 0], targets.ids)
    words = [text for text in (*before, *after) for _ in text.ids]
    skipped = bool(before)  # nothing comes before the very first token
    assert targets.learned.tolist() == [text.learned for text in words][skipped:]


def test_losses_are_torchs() -> None:
    logits = (30 * np.random.default_rng(0).normal(size=(6, 9))).astype(np.float32)
    targets = Targets(np.arange(6), np.array([1, 8, 0, 3, 3, 5]), np.ones(6, bool))
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits), torch.from_numpy(targets.ids), reduction="none"
    )
    np.testing.assert_allclose(losses(logits, targets), expected.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.exp(log_softmax(logits)).sum(1), 1, rtol=1e-5)
