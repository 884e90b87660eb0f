"""What an answer says, and how often that is right: pure functions over strings."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from names import load_names


@dataclass(frozen=True)
class Tally:
    """Right ones among all."""

    right: int
    total: int

    @property
    def share(self) -> float | None:
        """0..1, or None where there was nothing to count."""
        return self.right / self.total if self.total else None


def named_objects(answer: str) -> set[str]:
    """The objects an answer names, as whole words, singular or plural; the longest name wins."""
    return {_spellings()[match.lower()] for match in _pattern().findall(answer)}


@cache
def _spellings() -> dict[str, str]:
    names = load_names().values()
    return {form: one.name for one in names for form in (one.name, one.plural) if form}


@cache
def _pattern() -> re.Pattern[str]:
    longest_first = sorted(_spellings(), key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, longest_first))})\b", re.IGNORECASE)


def says_yes(answer: str) -> bool:
    """POPE's reading: the first sentence means no if it holds `no` or `not`, else yes."""
    words = re.findall(r"[a-z']+", answer.split(".")[0].lower())
    return not {"no", "not"} & set(words)


def says(answer: str, phrase: str) -> bool:
    """Whether a phrase occurs as whole words."""
    return re.search(rf"\b{re.escape(phrase)}\b", answer, re.IGNORECASE) is not None


def name_recall(pairs: Iterable[tuple[str, set[str]]]) -> Tally:
    """Of all objects in the pictures, how many are named; `pairs` are answers and truths."""
    scored = [(len(named_objects(answer) & truth), len(truth)) for answer, truth in pairs]
    return Tally(sum(hit for hit, _ in scored), sum(total for _, total in scored))


def name_precision(pairs: Iterable[tuple[str, set[str]]]) -> Tally:
    """Of all objects named, how many are in the pictures."""
    scored = [(named_objects(answer), truth) for answer, truth in pairs]
    return Tally(sum(len(said & truth) for said, truth in scored), sum(len(s) for s, _ in scored))


def yes_no_accuracy(pairs: Iterable[tuple[str, bool]]) -> Tally:
    """How many yes/no answers are right; `pairs` are answers and truths."""
    right = [says_yes(answer) == truth for answer, truth in pairs]
    return Tally(sum(right), len(right))


def yes_rate(answers: Iterable[str]) -> Tally:
    """How many answers say yes; half of them should."""
    yes = [says_yes(answer) for answer in answers]
    return Tally(sum(yes), len(yes))


def phrase_accuracy(pairs: Iterable[tuple[str, str]], rivals: tuple[str, ...]) -> Tally:
    """How many answers say the true one of rival phrases; the longest one that they say counts."""
    by_length = sorted(rivals, key=len, reverse=True)
    right = [
        next((phrase for phrase in by_length if says(answer, phrase)), None) == truth
        for answer, truth in pairs
    ]
    return Tally(sum(right), len(right))
