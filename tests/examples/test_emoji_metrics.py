"""Answers are read as a person would read them, and the questions are fair."""

import pytest
from context import PLACES
from emoji_sprites import few_sprites
from metrics import (
    name_precision,
    name_recall,
    named_objects,
    phrase_accuracy,
    says_yes,
    yes_no_accuracy,
    yes_rate,
)
from questions import FAMILIES, draw_cases


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ("A dog, a pizza and two keys.", {"dog", "pizza", "key"}),
        ("A palm tree.", {"palm tree"}),
        ("A palm tree and a tree", {"palm tree", "tree"}),
        ("a FIRE ENGINE", {"fire engine"}),
        ("Two magnifying glasses.", {"magnifying glass"}),
        ("A pineapple on a catwalk", {"pineapple"}),
        ("Three mice and cherries.", {"mouse", "cherries"}),
        ("", set()),
    ],
)
def test_named_objects(answer: str, names: set[str]) -> None:
    """Whole words, singular or plural, and of two readings the longer one."""
    assert named_objects(answer) == names


def test_recall_and_precision() -> None:
    """Both count objects over all pictures."""
    pairs = [("A dog and a cat.", {"dog", "key"}), ("A key.", {"key"})]
    assert name_recall(pairs).share == pytest.approx(2 / 3)
    assert name_precision(pairs).share == pytest.approx(2 / 3)
    assert name_precision([("Nothing.", {"key"})]).share is None


@pytest.mark.parametrize(
    ("answer", "yes"),
    [
        ("Yes, there is a dog.", True),
        ("No, there is no dog.", False),
        ("There is not.", False),
        ("There is a dog. No cat.", True),
        ("A notebook", True),
    ],
)
def test_says_yes(answer: str, yes: bool) -> None:
    """As POPE reads it: `no` or `not` in the first sentence."""
    assert says_yes(answer) is yes


def test_yes_no_figures() -> None:
    """One who always says yes is right half of the time."""
    pairs = [("Yes.", True), ("Yes.", False)]
    assert yes_no_accuracy(pairs).share == 0.5
    assert yes_rate(answer for answer, _ in pairs).share == 1.0


def test_the_longest_phrase_counts() -> None:
    """`at the top left` is not also `at the top`."""
    places = tuple(PLACES.values())
    assert phrase_accuracy([("It is at the top left.", "at the top left")], places).share == 1
    assert phrase_accuracy([("It is at the top left.", "at the top")], places).share == 0
    assert phrase_accuracy([("Nowhere.", "at the top")], places).share == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_questions_are_balanced_and_seeded(family: str) -> None:
    """Every scene has one present and one absent object; the same seed asks the same."""
    cases = draw_cases(few_sprites(), family, 12)
    again = draw_cases(few_sprites(), family, 12)
    assert [case.questions for case in cases] == [case.questions for case in again]
    for case in cases:
        asked = {q.kind: named_objects(q.text) for q in case.questions}
        assert asked["present"] <= case.names
        assert not asked["absent"] & case.names
        assert asked["objects"] == set()
