"""JSON and TOML are read strictly, and what is wrong is named with its place."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_edge.core.strict import PositiveFloat, PositiveInt, Section, parse, read_json
from llava_edge.errors import CheckpointError


@dataclass(frozen=True)
class Part:
    size: PositiveInt
    rate: PositiveFloat = 1.0

    def __post_init__(self) -> None:
        if self.size == 13:
            raise ValueError("size is 13, which brings bad luck")


@dataclass(frozen=True)
class Whole:
    name: str
    kind: Literal["a", "b"]
    pair: tuple[float, float]
    named: dict[str, Part]
    parts: tuple[Part, ...] = ()
    grid: tuple[tuple[int, int], ...] = ()
    layers: bool | int = False
    bits: Literal[4, 8] | None = None
    part: Part | None = None
    folder: Path | None = None
    notes: dict[str, str] = field(default_factory=dict)


RIGHT: dict[str, Any] = {"name": "n", "kind": "a", "pair": [1, 2.5], "named": {}}
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
PARTS = st.builds(
    Part,
    st.integers(14),
    st.floats(0, exclude_min=True, allow_nan=False, allow_infinity=False),
)
WHOLES = st.builds(
    Whole,
    st.text(),
    st.sampled_from(["a", "b"]),
    st.tuples(NUMBERS, NUMBERS),
    st.dictionaries(st.text(), PARTS),
    st.lists(PARTS).map(tuple),
    st.lists(st.tuples(st.integers(), st.integers())).map(tuple),
    st.booleans() | st.integers(),
    st.sampled_from([4, 8, None]),
    PARTS | st.none(),
    st.just(Path("folder")) | st.none(),
    st.dictionaries(st.text(), st.text()),
)


def refusal(value: object) -> str:
    with pytest.raises(ValueError) as error:
        parse(Whole, value)
    assert "\n" not in str(error.value)
    return str(error.value)


@given(WHOLES)
def test_what_was_written_is_read(whole: Whole) -> None:
    assert parse(Whole, json.loads(json.dumps(asdict(whole), default=str))) == whole


def test_a_missing_key_takes_its_default() -> None:
    assert parse(Whole, RIGHT) == Whole("n", "a", (1.0, 2.5), {})
    assert type(parse(Whole, RIGHT).pair[0]) is float


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"naem": 1}, "naem is not known"),
        ({"part": {"size": 1, "rat": 2}}, "part.rat is not known"),
        ({"parts": [{"size": 1}, {}]}, "parts[1].size is missing"),
        ({"named": {"x": {"size": 1}, "y": {}}}, "named.y.size is missing"),
        ({"named": {"x": {"size": 1}, "y": {"size": 0}}}, "named.y.size is 0, but a positive"),
        ({"named": []}, "named is [], but an object was expected"),
        ({"name": 1}, "name is 1, but a string was expected"),
        ({"name": None}, "name is null, but a string was expected"),
        ({"kind": "c"}, 'kind is "c", but "a" or "b" was expected'),
        ({"kind": True}, 'kind is true, but "a" or "b" was expected'),
        ({"bits": 4.0}, "bits is 4.0, but 4 or 8 was expected"),
        ({"bits": True}, "bits is true, but 4 or 8 was expected"),
        ({"pair": [1, 2, 3]}, "pair is [1, 2, 3], but a list of 2 numbers was expected"),
        ({"pair": [1, True]}, "pair[1] is true, but a number was expected"),
        ({"pair": [1, 10**400]}, "pair[1] is 1000"),
        ({"pair": {}}, "pair is {}, but a list of 2 numbers was expected"),
        ({"grid": [1]}, "grid[0] is 1, but a list of 2 whole numbers was expected"),
        ({"grid": 1}, "grid is 1, but a list of lists was expected"),
        ({"parts": {}}, "parts is {}, but a list of objects was expected"),
        ({"part": []}, "part is [], but an object was expected"),
        ({"part": {"size": True}}, "part.size is true, but a positive whole number was expected"),
        ({"part": {"size": 1.0}}, "part.size is 1.0, but a positive whole number was expected"),
        ({"part": {"size": 13}}, "in part, size is 13, which brings bad luck"),
        ({"part": {"size": 1, "rate": 0}}, "part.rate is 0, but a positive number was expected"),
        ({"part": {"size": 1, "rate": float("inf")}}, "part.rate is Infinity, but a positive"),
        ({"layers": 0.5}, "layers is 0.5, but true or false or a whole number was expected"),
        ({"folder": 5}, "folder is 5, but a path was expected"),
        ({"notes": {"a": 1}}, "notes.a is 1, but a string was expected"),
        ({"name": ["x" * 10**6]}, "x..., but a string was expected"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(change: dict[str, Any], problem: str) -> None:
    said = refusal(RIGHT | change)
    assert problem in said
    assert len(said) < 200


@pytest.mark.parametrize("value", [None, [], 1, "text"])
def test_what_is_no_object(value: object) -> None:
    assert refusal(value).startswith("the top level is ")


@pytest.mark.parametrize("key", ["name", "kind", "pair", "named"])
def test_a_key_without_a_default_is_needed(key: str) -> None:
    assert f"{key} is missing" in refusal({k: v for k, v in RIGHT.items() if k != key})


@pytest.mark.parametrize("text", ["NaN", "[1e999]", "-Infinity", "{", "", "[" * 100_000, "[1]]"])
def test_what_json_does_not_allow(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(ValueError):
        read_json(path)


ASK = {
    "integer": lambda section: section.integer("key"),
    "number": lambda section: section.number("key"),
    "flag": lambda section: section.flag("key", True),
    "text": lambda section: section.text("key"),
    "choice": lambda section: section.choice("key", ("one", "two")),
    "integers": lambda section: section.integers("key"),
    "two integers": lambda section: section.integers("key", 2),
    "numbers": lambda section: section.numbers("key", 2),
    "strings": lambda section: section.strings("key"),
    "triple": lambda section: section.triple("key", (1, 2, 3)),
    "section": lambda section: section.section("key").values,
}


@pytest.mark.parametrize(
    ("ask", "value", "expected"),
    [
        ("integer", 3, 3),
        ("number", 3, 3.0),
        ("flag", False, False),
        ("flag", None, True),
        ("text", "", ""),
        ("choice", "two", "two"),
        ("integers", [1, -2], (1, -2)),
        ("integers", [], ()),
        ("two integers", [1, 2], (1, 2)),
        ("numbers", [1, 0.5], [1.0, 0.5]),
        ("strings", ["a"], ["a"]),
        ("triple", [1, 2, 3.5], (1.0, 2.0, 3.5)),
        ("triple", None, (1.0, 2.0, 3.0)),
        ("section", {"a": float("nan")}, {"a": float("nan")}),
    ],
)
def test_a_section_gives_values_of_the_kind_asked_for(
    ask: str, value: object, expected: object
) -> None:
    found = ASK[ask](Section({"key": value, "unknown": object()}, "config.json"))
    assert repr(found) == repr(expected)


@pytest.mark.parametrize(
    ("ask", "value", "words"),
    [
        ("integer", 0, "gives 0 as key, but a positive whole number is what"),
        ("integer", True, "gives true as key"),
        ("integer", 1.0, "gives 1.0 as key"),
        ("integer", None, "gives null as key"),
        ("number", -0.5, "a positive number"),
        ("number", float("nan"), "gives NaN"),
        ("number", float("inf"), "gives Infinity"),
        ("number", 10**400, "a positive number"),
        ("number", "1", 'gives "1"'),
        ("flag", 1, "true or false"),
        ("text", 1, "a string"),
        ("choice", "three", '"one" or "two"'),
        ("choice", ["one"], '"one" or "two"'),
        ("integers", [True], "a list of whole numbers"),
        ("integers", "12", "a list of whole numbers"),
        ("two integers", [1], "a list of 2 whole numbers"),
        ("numbers", [1], "a list of 2 numbers"),
        ("numbers", [1, "x"], "a list of 2 numbers"),
        ("strings", [1], "a list of strings"),
        ("triple", [1, 2], "a list of 3 numbers"),
        ("triple", [1, 2, "x"], "a list of 3 numbers"),
        ("section", [], "an object"),
    ],
)
def test_a_section_refuses_values_of_another_kind(ask: str, value: object, words: str) -> None:
    with pytest.raises(CheckpointError, match=r"^config\.json gives .* is what export supports\.$"):
        ASK[ask](Section({"key": value}, "config.json"))
    with pytest.raises(CheckpointError) as error:
        ASK[ask](Section({"key": value}, "config.json"))
    assert words in str(error.value)


def test_a_section_without_the_key() -> None:
    with pytest.raises(CheckpointError, match="gives nothing as key"):
        Section({}, "config.json").integer("key")
    assert Section({}, "config.json").integer("key", 4) == 4
    assert not Section({"key": None}, "config.json").has("key")


@pytest.mark.parametrize(
    "text", ["{", "[]", "1", "\xff", "[" * 100_000, '{"a":' + "9" * 5000 + "}"]
)
def test_a_file_that_is_no_section(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError, match="fetch the file anew"):
        Section.from_file(path)


def test_a_section_may_hold_what_python_writes(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"limit": Infinity, "size": 3}')
    assert Section.from_file(path).integer("size") == 3
    with pytest.raises(CheckpointError, match="whole checkpoint"):
        Section.from_file(tmp_path / "gone" / "config.json")
