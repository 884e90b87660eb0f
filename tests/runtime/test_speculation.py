"""Guessing what stood before changes how an answer is read, and not what it says."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from llava_edge import Llava, Options, load
from llava_edge.core.array_types import Floats
from llava_edge.runtime.interrupt import Interrupt
from llava_edge.runtime.prefix_cache import Item, PrefixCache
from llava_edge.runtime.speculation import GUESSED, LONGEST, SHORTEST, TRIALS, SeenItems, Speculator

PROMPT = [5, 77, 200, 13, 250, 8, 91, 166, 40, 260, 71]


class Counting(PrefixCache):
    """A prefix cache that notes how many ids each call reads."""

    def __init__(self, model: Llava) -> None:
        super().__init__(model.decoder)
        self.calls: list[int] = []
        list(self.prefill(PROMPT))

    def read(self, ids: list[int], interrupt: Interrupt | None = None) -> Floats:  # type: ignore[override]
        self.calls.append(len(ids))
        return super().read(ids, interrupt)


def read_all(model: Llava, ids: list[int], *, guesses: bool) -> tuple[Counting, list[Floats]]:
    cache = Counting(model)
    reader = Speculator(cache, Interrupt(), guesses=guesses)
    return cache, [reader.after(id).copy() for id in ids]


@pytest.mark.parametrize("answer", [[*PROMPT[2:], 3, 5, 77, 200, 9, 9, 9, 9], [9, 8] * 9])
def test_the_logits_are_the_same_whatever_is_guessed(model: Llava, answer: list[int]) -> None:
    plain, expected = read_all(model, answer, guesses=False)
    guessing, found = read_all(model, answer, guesses=True)
    assert guessing.items == plain.items == PROMPT + answer
    assert len(guessing.calls) < len(plain.calls) == len(answer)
    # Where activations are rounded to 8 bits, a lone row's may fall on a neighbour.
    tolerance = 1e-4 if model.config.quantization.method == "none" else 0.2
    np.testing.assert_allclose(found, expected, atol=tolerance)
    list(guessing.prefill([*PROMPT, *answer, 4, 6]))
    list(plain.prefill([*PROMPT, *answer, 4, 6]))
    np.testing.assert_allclose(guessing.logits, plain.logits, atol=tolerance)


@pytest.mark.parametrize("seed", range(3))
def test_answers_are_the_same(tiny_bundle_fp32: Path, photo: Image.Image, seed: int) -> None:
    model = load(tiny_bundle_fp32)
    for options in ({}, {"temperature": 0.3, "seed": seed}, {"repetition_penalty": 1.2}):
        plain = Options(max_tokens=60, **options)  # type: ignore[arg-type]
        guessing = Options(max_tokens=60, speculate=True, **options)  # type: ignore[arg-type]
        prompt = "the cat " * (seed + 3)
        assert model.answer(prompt, photo, guessing) == model.answer(prompt, photo, plain)


def test_guessing_ends_where_it_is_wrong(model: Llava) -> None:
    answer = [id for step in range(12) for id in (5, 77, 100 + step)]  # 200 is guessed, not found
    cache, _ = read_all(model, answer, guesses=True)
    assert sum(size > 1 for size in cache.calls) == TRIALS


def test_no_guess_passes_the_end_of_the_context(model: Llava) -> None:
    room = model.decoder.context - len(PROMPT)
    answer = (PROMPT * model.decoder.context)[:room]
    cache, _ = read_all(model, answer, guesses=True)
    assert len(cache.items) == model.decoder.context


@given(st.lists(st.integers(0, 3), max_size=30))
def test_what_followed_is_what_a_search_finds(ids: list[int]) -> None:
    assert SeenItems(ids).follow(GUESSED) == searched(ids)


def searched(items: list[Item]) -> list[Item]:
    for length in range(LONGEST, SHORTEST - 1, -1):
        for start in range(len(items) - length - 1, -1, -1):
            if length < len(items) and items[start : start + length] == items[-length:]:
                return items[start + length :][:GUESSED]
    return []
