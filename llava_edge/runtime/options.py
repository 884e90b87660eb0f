"""How an answer is drawn, held to a form, and ended."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Literal

from llava_edge.errors import UsageError


def _whole(number: Any, least: int) -> bool:
    return isinstance(number, Integral) and int(number) >= least


def _finite(number: float) -> bool:
    return abs(number) < 1e30  # logits are float32, which end at 3e38


# Of each field, what holds of a value that may be given, and how to say it.
_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_tokens": (lambda n: _whole(n, 1), "a whole number of 1 or more"),
    "timeout": (lambda seconds: 0 < seconds < math.inf, "seconds, more than 0"),
    "temperature": (lambda t: t >= 0 and _finite(t), "0 (greedy) or more"),
    "top_k": (lambda k: _whole(k, 0), "a whole number, 0 for no limit"),
    "top_p": (lambda p: 0 < p <= 1, "a number above 0 and at most 1"),
    "min_p": (lambda p: 0 <= p <= 1, "a number from 0 to 1"),
    "seed": (lambda n: _whole(n, 0), "a whole number of 0 or more"),
    "repetition_penalty": (lambda r: 0.01 <= r <= 100, "0.01 to 100, where 1 changes nothing"),
    "frequency_penalty": (lambda f: -2 <= f <= 2, "a number from -2 to 2"),
    "presence_penalty": (lambda f: -2 <= f <= 2, "a number from -2 to 2"),
    "logprobs": (lambda n: _whole(n, 0) and n <= 20, "a whole number from 0 to 20"),
    "image_tokens": (lambda n: _whole(n, 1), "a whole number of 1 or more"),
    "when_full": (lambda when: when in ("error", "shift"), "'error' or 'shift'"),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """How an answer is drawn, held to a form, and ended.

        model.answer("What is this?", "photo.jpg", Options(temperature=0.7, top_p=0.9, seed=1))
        model.answer("Is there a dog?", "photo.jpg", Options(choices=("yes", "no")))

    Raises UsageError for values out of range and for options that contradict one another.
    """

    max_tokens: int = 512
    timeout: float | None = None  # seconds; what was said by then is the answer
    stop: tuple[str, ...] = ()  # words that end an answer and are not part of it

    temperature: float = 0.0  # 0 takes the likeliest token, whatever the next four say
    top_k: int = 0  # draw among this many of the likeliest; 0: among all
    top_p: float = 1.0  # among the likeliest that together have this probability
    min_p: float = 0.0  # among those at least this probable, the likeliest being 1
    seed: int | None = None  # the same seed draws the same answer

    repetition_penalty: float = 1.0  # divides what stands in prompt or answer (arXiv 1909.05858)
    frequency_penalty: float = 0.0  # subtracted for each time that a token was answered
    presence_penalty: float = 0.0  # subtracted once from each token that was answered
    logit_bias: Mapping[int, float] = field(default_factory=dict)  # added to an id's logit
    logprobs: int | None = None  # report each token's log probability, and this many likeliest

    schema: Mapping[str, Any] | str | None = None  # the answer is JSON that this JSON schema allows
    regex: str | None = None  # the answer matches, as a whole
    choices: tuple[str, ...] = ()  # the answer is one of them

    image_tokens: int | None = None  # keep only so many of each picture's rows
    when_full: Literal["error", "shift"] = "error"  # "shift" forgets a chat's oldest turns
    speculate: bool = False  # guess what stood before and read it at once; see lookup.py

    def __post_init__(self) -> None:
        for name, (holds, expected) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not holds(value):
                raise UsageError(f"{name} is {value!r}; give {expected}.")
        _check_words("stop", self.stop)
        _check_words("choices", self.choices)
        self._check_logit_bias()
        self._check_forms()

    @property
    def constrained(self) -> bool:
        """Whether the answer is held to a form."""
        return self.schema is not None or self.regex is not None or bool(self.choices)

    def _check_logit_bias(self) -> None:
        for id, bias in self.logit_bias.items():
            if not _whole(id, 0):
                raise UsageError(
                    f"logit_bias names the id {id!r}; give ids of tokens, which are 0 or more."
                )
            if not _finite(bias):
                raise UsageError(
                    f"logit_bias adds {bias} to id {id}; give a finite number (-100 bans a token)."
                )

    def _check_forms(self) -> None:
        """At most one form, which says something."""
        forms = {"schema": self.schema, "regex": self.regex, "choices": self.choices or None}
        given = [name for name, form in forms.items() if form is not None]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} are given together; give one of them.")
        if "" in (self.schema, self.regex):
            raise UsageError(f"{given[0]} is empty; say what the answer may be, or leave it out.")


def _check_words(name: str, words: tuple[str, ...]) -> None:
    if isinstance(words, str):  # its letters would be taken for words
        raise UsageError(f"{name} is the string {words!r}; give a tuple of strings: ({words!r},).")
    if "" in words:
        raise UsageError(f"{name} has an empty string in it; leave that out.")


DEFAULTS = Options()
