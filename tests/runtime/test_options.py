"""What options refuse, and what they take."""

import math
from typing import Any

import pytest

from llava_edge.errors import UsageError
from llava_edge.runtime.options import Options

NAN = math.nan
OUT_OF_RANGE = {
    "max_tokens": (0, -1, 1.5),
    "timeout": (0, -1.0, NAN, math.inf),
    "temperature": (-0.1, NAN, math.inf),
    "top_k": (-1, 2.5),
    "top_p": (0, 1.1, NAN),
    "min_p": (-0.1, 1.1, NAN),
    "seed": (-1, 0.5),
    "repetition_penalty": (0, -1, NAN, math.inf),
    "frequency_penalty": (-2.1, 2.1, NAN),
    "presence_penalty": (-2.1, 2.1, NAN),
    "logit_bias": ({3: NAN}, {3: math.inf}, {-1: 0.0}, {"3": 0.0}),
    "logprobs": (-1, 21, 1.5),
    "image_tokens": (0, 1.5),
    "when_full": ("forget",),
    "stop": (("",), ("end", "")),
    "choices": (("",), ("yes", "")),
    "schema": ("",),
    "regex": ("",),
}
LIMITS = {
    "max_tokens": (1,),
    "timeout": (1e-9, None),
    "temperature": (0, 1e-300, 100),
    "top_k": (0, 1),
    "top_p": (1e-9, 1),
    "min_p": (0, 1),
    "seed": (0, 2**63, None),
    "repetition_penalty": (0.01, 100),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "logit_bias": ({0: -100.0},),
    "logprobs": (0, 20, None),
    "image_tokens": (1, None),
    "when_full": ("error", "shift"),
    "stop": ((), ("\n", "end"), ["end"]),
    "choices": ((), ("yes",), ["yes", "no"]),
    "schema": ("{}",),
    "regex": (" ",),
}


def cases(values: dict[str, tuple[Any, ...]]) -> list[tuple[str, Any]]:
    return [(name, value) for name, each in values.items() for value in each]


@pytest.mark.parametrize(("name", "value"), cases(OUT_OF_RANGE))
def test_values_out_of_range_are_named(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"^{name} (is|has|names|adds) .*[;,] .*\.$"):
        Options(**{name: value})


@pytest.mark.parametrize(("name", "value"), cases(LIMITS))
def test_values_at_the_limits_are_taken(name: str, value: Any) -> None:
    expected = tuple(value) if isinstance(value, list) else value
    assert getattr(Options(**{name: value}), name) == expected


@pytest.mark.parametrize("name", ["stop", "choices"])
def test_one_string_is_not_taken_for_its_letters(name: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name} is 'yes'; give a tuple of strings"):
        Options(**{name: "yes"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "forms",
    [
        {"schema": {}, "regex": "a"},
        {"schema": "{}", "choices": ("a",)},
        {"regex": "a", "choices": ("a",)},
        {"schema": {}, "regex": "a", "choices": ("a",)},
    ],
)
def test_forms_contradict_one_another(forms: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=" and ".join(forms)):
        Options(**forms)


def test_options_know_whether_they_constrain() -> None:
    assert not Options().constrained
    assert not Options(stop=("a",), temperature=1, choices=()).constrained
    for form in ({"schema": {}}, {"regex": "a"}, {"choices": ("a",)}):
        assert Options(**form).constrained  # type: ignore[arg-type]
