"""What options refuse, and what they take."""

import copy
import math
import pickle
from dataclasses import asdict, replace
from typing import Any

import numpy as np
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
OF_ANOTHER_TYPE = {
    "max_tokens": (None, True, "5", 3.0),
    "timeout": ("1", True, 1e10),
    "stop": (None, (1,), ("a", None), 5, {"a": 1}),
    "temperature": ("hot", None, True, 1j, [0.5]),
    "top_k": (None, True, "3"),
    "top_p": (None, "1"),
    "min_p": (None, False),
    "seed": ("1", True),
    "repetition_penalty": (None, "1"),
    "frequency_penalty": (None, "1"),
    "presence_penalty": (None, "1"),
    "logit_bias": (None, ((3, 1.0),), [(3, 1.0)], {"a": 1.0}, {3: "x"}, {3: None}, {True: 1.0}, 5),
    "logprobs": (True, "3"),
    "schema": (5, ["a"], {1: 2}),
    "regex": (5, b"a"),
    "choices": (None, (1, 2), ("a", 1), 5),
    "image_tokens": ("3", True),
    "when_full": (None, 1),
    "speculate": (None, 1, "yes"),
}
LIMITS = {
    "max_tokens": (1,),
    "timeout": (1e-9, 86_400, None),
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


@pytest.mark.parametrize(("name", "value"), cases(OF_ANOTHER_TYPE))
def test_values_of_another_type_are_named(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"^{name} is .*; give .*\.$"):
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


def test_numbers_of_numpy_are_taken() -> None:
    given = Options(
        max_tokens=np.int32(3),  # type: ignore[arg-type]
        temperature=np.float32(0.5),  # type: ignore[arg-type]
        seed=np.uint64(2**63),  # type: ignore[arg-type]
        logit_bias={np.int64(4): np.float16(-2)},  # type: ignore[dict-item]
    )
    plain = Options(max_tokens=3, temperature=0.5, seed=2**63, logit_bias={4: -2.0})
    assert given == plain and hash(given) == hash(plain)


EQUAL = [
    ({"stop": ["a", "b"]}, {"stop": ("a", "b")}),
    ({"temperature": 1}, {"temperature": 1.0}),
    ({"logit_bias": {1: 2, 3: 4}}, {"logit_bias": {3: 4.0, 1: 2.0}}),
    ({"schema": {"type": "object"}}, {"schema": '{ "type":"object" }'}),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_options_hash_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = Options(**one), Options(**other)
    assert first == second and hash(first) == hash(second) and len({first, second}) == 1
    assert first != Options(max_tokens=3, **one)


def test_what_was_given_may_change_afterwards() -> None:
    bias, schema, stop = {1: 2.0}, {"enum": [1]}, ["a"]
    options = Options(logit_bias=bias, schema=schema, stop=stop)  # type: ignore[arg-type]
    before = hash(options)
    bias[1] = 3.0
    schema["enum"].append(2)
    stop.append("b")
    assert options == Options(logit_bias={1: 2.0}, schema={"enum": [1]}, stop=("a",))
    assert hash(options) == before


def test_options_can_be_copied_and_sent() -> None:
    options = Options(logit_bias={1: 2.0}, schema={"type": "object"}, stop=("a",))
    for same in (
        pickle.loads(pickle.dumps(options)),
        copy.deepcopy(options),
        replace(options),
        Options(**asdict(options)),
    ):
        assert same == options
