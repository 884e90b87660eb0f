"""Reductions keep what they promise; an evaluation in slices asks everything once."""

import json
from pathlib import Path

import image_tokens
import numpy as np
import pytest
from choices import CHOICES
from emoji_sprites import few_sprites
from image_tokens import AnswerFile, SceneKey, ask_missing, chance, count, draw_scenes, settings
from questions import Case

from llava_edge import Llava

ROWS = np.random.default_rng(0).standard_normal((20, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def cases() -> dict[SceneKey, Case]:
    """A scene of each family, of the two that are drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_tokens, "SCENES", 2)
        return draw_scenes(few_sprites(), 1)


@pytest.mark.parametrize("choice", CHOICES)
def test_a_choice_has_so_many_rows(choice: str) -> None:
    for tokens in (1, 7, 19):
        assert CHOICES[choice](ROWS, tokens, 0).shape == (tokens, 8)
    np.testing.assert_array_equal(CHOICES[choice](ROWS, 20, 0), ROWS)


@pytest.mark.parametrize("choice", [choice for choice in CHOICES if choice != "merged"])
def test_rows_are_chosen_once_and_in_their_order(choice: str) -> None:
    kept = CHOICES[choice](ROWS, 7, 0)
    (indices,) = np.nonzero((ROWS[:, None] == kept).all(axis=2).any(axis=1))
    np.testing.assert_array_equal(ROWS[indices], kept)


def test_merging_keeps_the_mean_of_all() -> None:
    """One row is the mean of all, and equal rows merge into themselves."""
    np.testing.assert_allclose(CHOICES["merged"](ROWS, 1, 0)[0], ROWS.mean(axis=0), atol=1e-6)
    doubled = np.repeat(ROWS, 2, axis=0)
    np.testing.assert_allclose(CHOICES["merged"](doubled, 20, 0), ROWS, atol=1e-6)


def test_slices_ask_everything_once(
    tiny_bundle: Path, model: Llava, cases: dict[SceneKey, Case], tmp_path: Path
) -> None:
    file = tmp_path / "answers.jsonl"
    asked = settings(model.config.vision.image_tokens, [3])
    first = dict(list(cases.items())[:1])
    ask_missing(model, first, asked, AnswerFile(file, tiny_bundle), 600)
    assert len(next(iter(count(cases, asked, AnswerFile(file, tiny_bundle)).values()))) == 1
    ask_missing(model, cases, asked, AnswerFile(file, tiny_bundle), 600)
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    keys = [(line["family"], line["scene"], line["choice"], line["tokens"]) for line in lines]
    assert len(keys) == len(set(keys)) == len(cases) * len(asked)
    counted = count(cases, asked, AnswerFile(file, tiny_bundle))
    assert all(len(counts) == len(cases) for counts in counted.values())


def test_no_time_asks_nothing(
    tiny_bundle: Path, model: Llava, cases: dict[SceneKey, Case], tmp_path: Path
) -> None:
    file = tmp_path / "answers.jsonl"
    ask_missing(model, cases, settings(9, [3]), AnswerFile(file, tiny_bundle), -1)
    assert not file.exists()


def test_another_bundle_has_other_answers(cases: dict[SceneKey, Case], tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    (key, case), *_ = cases.items()
    (setting,) = settings(9, [])
    said = [(case, question, "yes") for question in case.questions]
    AnswerFile(file, Path("one")).add(key, setting, said)
    assert AnswerFile(file, Path("one")).find(key, setting, case) == said
    assert AnswerFile(file, Path("two")).find(key, setting, case) is None


def test_chance_is_the_noise_of_a_share() -> None:
    """Nothing between equal answers; for independent ones, the spread of their difference."""
    rng = np.random.default_rng(0)
    first, second = (
        np.stack([rng.integers(0, 2, (400, 1)), np.ones((400, 1), int)], axis=-1) for _ in "ab"
    )
    assert chance(first, first) == [0]
    assert chance(first, second)[0] == pytest.approx(196 * np.sqrt(2 * 0.25 / 400), rel=0.1)
