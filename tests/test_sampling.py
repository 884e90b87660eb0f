"""Drawing ids from logits."""

import numpy as np
import pytest

from llava_edge.errors import UsageError
from llava_edge.sampling import Sampler

LOGITS = np.log(np.array([0.1, 0.45, 0.15, 0.3], dtype=np.float32))


def drawn(sampler: Sampler, count: int = 4000) -> list[int]:
    return [sampler(LOGITS) for _ in range(count)]


def test_greedy_ignores_the_seed_and_top_p() -> None:
    for seed in (None, 0, 1, 2):
        assert set(drawn(Sampler(seed=seed, top_p=0.9), 20)) == {1}


def test_seed_repeats() -> None:
    first = drawn(Sampler(temperature=1, seed=3), 200)
    assert first == drawn(Sampler(temperature=1, seed=3), 200)
    assert first != drawn(Sampler(temperature=1, seed=4), 200)


@pytest.mark.parametrize("top_p", [1e-9, 0.3, 0.44])
def test_a_small_top_p_is_greedy(top_p: float) -> None:
    assert set(drawn(Sampler(temperature=1, top_p=top_p, seed=0), 100)) == {1}


@pytest.mark.parametrize("temperature", [1e-300, 1e-3])
def test_a_small_temperature_is_greedy(temperature: float) -> None:
    assert set(drawn(Sampler(temperature=temperature, seed=0), 100)) == {1}


def test_frequencies_are_the_probabilities() -> None:
    shares = np.bincount(drawn(Sampler(temperature=1, seed=0)), minlength=4) / 4000
    assert np.abs(shares - np.exp(LOGITS)).max() < 0.03


def test_temperature_flattens() -> None:
    shares = np.bincount(drawn(Sampler(temperature=2, seed=0)), minlength=4) / 4000
    expected = np.sqrt(np.exp(LOGITS)) / np.sqrt(np.exp(LOGITS)).sum()
    assert np.abs(shares - expected).max() < 0.03


def test_top_p_keeps_the_likeliest_that_reach_it() -> None:
    assert set(drawn(Sampler(temperature=1, top_p=0.7, seed=0), 500)) == {1, 3}
    assert set(drawn(Sampler(temperature=1, top_p=0.8, seed=0), 500)) == {1, 2, 3}


def test_impossible_logits_are_never_drawn() -> None:
    logits = np.array([-np.inf, 0.0, -np.inf], dtype=np.float32)
    sampler = Sampler(temperature=1, seed=0)
    assert {sampler(logits) for _ in range(50)} == {1}


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_p": 0},
        {"top_p": 1.1},
        {"top_p": float("nan")},
        {"seed": -1},
    ],
)
def test_values_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="give"):
        Sampler(**options)  # type: ignore[arg-type]
