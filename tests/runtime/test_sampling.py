"""Drawing ids from logits."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from llava_edge.errors import LlavaEdgeError, UsageError
from llava_edge.runtime.options import Options
from llava_edge.runtime.sampling import Sampler, candidates, log_probabilities

LOGITS = np.log(np.array([0.1, 0.45, 0.15, 0.3], dtype=np.float32))


def sampler(prompt_ids: tuple[int, ...] = (), vocab_size: int = 4, **options: Any) -> Sampler:
    return Sampler(Options(**options), prompt_ids, vocab_size=vocab_size)


def drawn(sampler: Sampler, count: int = 4000) -> list[int]:
    return [sampler(LOGITS) for _ in range(count)]


def shares(sampler: Sampler) -> npt.NDArray[np.float64]:
    return np.bincount(drawn(sampler), minlength=4) / 4000


def random_logits(seed: int, scale: float, size: int = 3000) -> npt.NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(size=size) * scale).astype(np.float32)


def test_greedy_ignores_the_seed_and_what_narrows() -> None:
    for seed in (None, 0, 1, 2):
        assert set(drawn(sampler(seed=seed, top_p=0.9, top_k=3, min_p=0.1), 20)) == {1}


def test_seed_repeats() -> None:
    first = drawn(sampler(temperature=1, seed=3), 200)
    assert first == drawn(sampler(temperature=1, seed=3), 200)
    assert first != drawn(sampler(temperature=1, seed=4), 200)


@pytest.mark.parametrize(
    "narrow", [{"top_p": 1e-9}, {"top_p": 0.3}, {"top_p": 0.44}, {"top_k": 1}, {"min_p": 1}]
)
def test_narrowed_to_the_likeliest_is_greedy(narrow: dict[str, float]) -> None:
    assert set(drawn(sampler(temperature=1, seed=0, **narrow), 100)) == {1}


@pytest.mark.parametrize("temperature", [1e-300, 1e-3])
def test_a_small_temperature_is_greedy(temperature: float) -> None:
    assert set(drawn(sampler(temperature=temperature, seed=0), 100)) == {1}


def test_frequencies_are_the_probabilities() -> None:
    assert np.abs(shares(sampler(temperature=1, seed=0)) - np.exp(LOGITS)).max() < 0.03


def test_temperature_flattens() -> None:
    expected = np.sqrt(np.exp(LOGITS)) / np.sqrt(np.exp(LOGITS)).sum()
    assert np.abs(shares(sampler(temperature=2, seed=0)) - expected).max() < 0.03


def test_impossible_logits_are_never_drawn() -> None:
    logits = np.array([-np.inf, 0.0, -np.inf], dtype=np.float32)
    draw = sampler(vocab_size=3, temperature=1, seed=0)
    assert {draw(logits) for _ in range(50)} == {1}


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_only_what_is_allowed_is_chosen(temperature: float) -> None:
    draw = sampler(temperature=temperature, seed=0, logit_bias={3: 100.0})
    allowed = np.array([True, False, True, False])
    chosen = {draw(LOGITS, allowed) for _ in range(200)}
    assert chosen == ({0, 2} if temperature else {2})


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("logits", [[np.nan, 0.0], [np.inf, 0.0], [-np.inf, -np.inf]])
def test_logits_that_are_no_numbers_are_told(temperature: float, logits: list[float]) -> None:
    with pytest.raises(LlavaEdgeError, match="not a finite number; choose another device"):
        sampler(temperature=temperature)(np.array(logits, dtype=np.float32))


def test_logits_stay_as_they_are() -> None:
    logits = random_logits(0, 3)
    before = logits.copy()
    options = {"repetition_penalty": 1.5, "presence_penalty": 1, "logit_bias": {3: 1.0}}
    for temperature in (0, 1):
        draw = sampler((1, 2), 3000, temperature=temperature, top_k=9, top_p=0.9, **options)
        for _ in range(3):
            draw(logits, logits > 0)
    assert (logits == before).all()


@pytest.mark.parametrize("scale", [0.01, 1, 5])
@pytest.mark.parametrize(
    "narrow",
    [
        {},
        {"top_k": 1},
        {"top_k": 40},
        {"top_k": 5000},
        {"min_p": 0.05},
        {"top_p": 0.9},
        {"top_p": 0.9999},
        {"top_p": 1e-6},
        {"top_k": 200, "top_p": 0.95, "min_p": 0.1},
        {"top_k": 7, "top_p": 0.5, "min_p": 0.001},
    ],
)
def test_candidates_are_those_of_transformers(narrow: dict[str, Any], scale: float) -> None:
    options = Options(temperature=1.7, **narrow)
    logits = random_logits(0, scale)
    warpers = LogitsProcessorList([TemperatureLogitsWarper(options.temperature)])
    if options.top_k:
        warpers.append(TopKLogitsWarper(options.top_k))
    if options.min_p:
        warpers.append(MinPLogitsWarper(options.min_p))
    if options.top_p < 1:
        warpers.append(TopPLogitsWarper(options.top_p))
    expected = warpers(None, torch.tensor(logits[None], dtype=torch.float64))[0].softmax(-1).numpy()
    ids, weights = candidates(logits, options)
    assert ids.tolist() == np.flatnonzero(expected).tolist()
    np.testing.assert_allclose(weights / weights.sum(), expected[ids], rtol=1e-4)


def test_ids_as_likely_as_the_last_one_kept_are_kept() -> None:
    logits = np.array([0, 2, 1, 1, 1, 0], dtype=np.float32)
    for narrow in ({"top_k": 2}, {"top_p": 0.5}):
        ids, _ = candidates(logits, Options(temperature=1, **narrow))
        assert ids.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("penalty", [0.5, 1.3])
def test_the_repetition_penalty_is_that_of_transformers(penalty: float) -> None:
    prompt = [5, 7, 5, 2999]
    logits = random_logits(1, 4)
    draw = sampler(tuple(prompt), 3000, repetition_penalty=penalty)
    processor = RepetitionPenaltyLogitsProcessor(penalty)
    for _ in range(20):
        scores = processor(torch.tensor([prompt]), torch.tensor(logits[None]))
        prompt.append(draw(logits))
        assert prompt[-1] == int(scores.argmax())


def test_frequency_and_presence_count_the_answer_alone() -> None:
    logits = np.array([3, 2.5, 0.1, 0], dtype=np.float32)
    draw = sampler((0, 0, 0), frequency_penalty=0.4)
    assert [draw(logits) for _ in range(6)] == [0, 0, 1, 0, 1, 0]
    draw = sampler((0, 0, 0), presence_penalty=0.6)
    assert [draw(logits) for _ in range(6)] == [0, 1, 0, 0, 0, 0]


def test_logit_bias_bans_and_forces() -> None:
    assert drawn(sampler(logit_bias={1: -100.0}), 1) == [3]
    assert drawn(sampler(logit_bias={0: 100.0}), 1) == [0]
    assert 1 not in drawn(sampler(temperature=1, seed=0, logit_bias={1: -100.0}))


def test_a_bias_on_an_id_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="id 4, but the model has 4 tokens; give ids up to 3"):
        sampler(logit_bias={4: 1.0})


def test_log_probabilities_are_those_of_the_logits() -> None:
    logits = random_logits(2, 3) + 1000
    expected = torch.tensor(logits, dtype=torch.float64).log_softmax(-1)
    logprob = log_probabilities(logits, 17, 5)
    top = expected.topk(5)
    assert logprob.id == 17
    assert math.isclose(logprob.logprob, expected[17], abs_tol=1e-3)
    assert [id for id, _ in logprob.likeliest] == top.indices.tolist()
    np.testing.assert_allclose([value for _, value in logprob.likeliest], top.values, atol=1e-3)


@pytest.mark.parametrize("count", [0, 1, 4, 20])
def test_log_probabilities_report_as_many_as_asked(count: int) -> None:
    logprob = log_probabilities(LOGITS, 2, count)
    assert [id for id, _ in logprob.likeliest] == [1, 3, 2, 0][:count]
    assert math.isclose(logprob.logprob, math.log(0.15), abs_tol=1e-6)
