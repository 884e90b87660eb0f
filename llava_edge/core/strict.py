"""JSON and TOML read strictly: a key or value that is not as expected ends in one sentence."""

import dataclasses
import json
import sys
import types
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from llava_edge.errors import CheckpointError

T = TypeVar("T")

PositiveInt = Annotated[int, Meta(ge=1, description="a positive whole number")]
PositiveFloat = Annotated[float, Meta(gt=0, le=sys.float_info.max, description="a positive number")]

_ONE_OF: Any = Literal  # as mypy takes it where the choices are known at run time only
_SINGULAR = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    Path: "a path",
}
_PLURAL = {int: "whole numbers", float: "numbers", str: "strings", Path: "paths"}


def read_json(path: Path) -> object:
    """What a JSON file holds; raises OSError, and ValueError for what JSON does not allow."""
    try:
        return msgspec.json.decode(path.read_bytes())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse(cls: type[T], value: object) -> T:
    """Build the dataclass `cls` from what JSON or TOML holds; a missing key takes its default.

    Raises ValueError that names the first wrong place.
    """
    _check_keys(cls, value)
    try:
        return msgspec.convert(value, cls, dec_hook=_from_string)
    except msgspec.ValidationError as error:
        raise ValueError(_problem(cls, value)) from error


def _check_keys(kind: Any, value: Any, place: str = "") -> None:
    """Refuse a key that is missing or, which msgspec would read over, not known."""
    if dataclasses.is_dataclass(bare := _bare(kind)) and isinstance(value, dict):
        fields = {field.name: field for field in dataclasses.fields(bare)}
        prefix = f"{place}." if place else ""
        if unknown := value.keys() - fields.keys():
            raise ValueError(f"{prefix}{min(unknown)} is not known")
        for name in sorted(fields.keys() - value.keys()):
            if fields[name].default is fields[name].default_factory:  # both are MISSING
                raise ValueError(f"{prefix}{name} is missing")
    for name, part_kind, part in _parts(kind, value):
        _check_keys(part_kind, part, (place + name).removeprefix("."))


def _problem(kind: Any, value: Any, place: str = "") -> str:
    """What is wrong, said of the innermost part of the value that does not fit its type."""
    for name, part_kind, part in _parts(kind, value):
        if _misfit(part_kind, part):
            return _problem(part_kind, part, (place + name).removeprefix("."))
    error = _misfit(kind, value)
    if error and error.__cause__ and dataclasses.is_dataclass(_bare(kind)):  # from __post_init__
        return f"in {place}, {error}" if place else str(error)
    return f"{place or 'the top level'} is {_shown(value)}, but {_expected(kind)} was expected"


def _misfit(kind: Any, value: Any) -> msgspec.ValidationError | None:
    try:
        msgspec.convert(value, kind, dec_hook=_from_string)
    except msgspec.ValidationError as error:
        return error
    return None


def _parts(kind: Any, value: Any) -> Iterator[tuple[str, Any, Any]]:
    """The parts of an object or a list: what each adds to the place, its type and its value."""
    kind = _bare(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, dict):
        yield from ((f".{key}", _types(kind)[key], part) for key, part in value.items())
    elif origin is dict and isinstance(value, dict):
        yield from ((f".{key}", arguments[1], part) for key, part in value.items())
    elif origin in (tuple, list) and isinstance(value, list):
        kinds = arguments if _has_length(kind) else repeat(arguments[0])
        yield from (
            (f"[{index}]", part_kind, part)
            for index, (part_kind, part) in enumerate(zip(kinds, value, strict=False))
        )


@cache
def _types(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _bare(kind: Any) -> Any:
    """A type without its range, and without None as another choice."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    choices = _choices(kind)
    return _bare(choices[0]) if len(choices) == 1 else kind


def _choices(kind: Any) -> list[Any]:
    """The types that a union joins, without None; none of another type."""
    union = get_origin(kind) in (Union, types.UnionType)
    return [choice for choice in get_args(kind) if choice is not types.NoneType] if union else []


def _has_length(kind: Any) -> bool:
    """Whether a list's type says how many items it has."""
    return get_origin(kind) is tuple and get_args(kind)[-1] is not Ellipsis


def _expected(kind: Any) -> str:
    """A type in words."""
    origin, arguments = get_origin(kind), get_args(kind)
    if choices := _choices(kind):
        return " or ".join(map(_expected, choices))
    if origin is Annotated:
        return str(arguments[1].description)
    if origin is Literal:
        return " or ".join(map(json.dumps, arguments))
    if origin in (tuple, list):
        length = f"{len(arguments)} " if _has_length(kind) else ""
        item = _bare(arguments[0])
        return f"a list of {length}{_PLURAL.get(item, 'lists' if get_origin(item) else 'objects')}"
    return _SINGULAR.get(kind, "an object")


def _shown(value: object) -> str:
    """A value as JSON writes it, cut where it is long."""
    text = json.dumps(value, default=str)
    return text if len(text) < 100 else text[:100] + "..."


def _from_string(kind: type, value: object) -> Path:
    """What msgspec asks for the types that it does not know."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise TypeError(f"{type(value).__name__} is not {kind.__name__}")


class Section:
    """An object of another program's JSON file, whose values are checked as they are read.

    Unknown keys are no fault there. What is wrong ends in a CheckpointError.
    """

    def __init__(self, values: Mapping[str, object], where: str) -> None:
        self.values = values
        self.where = where

    @classmethod
    def from_file(cls, path: Path) -> "Section":
        """Raises CheckpointError where the file cannot be read or holds no JSON object."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))  # takes NaN, which some hold
        except FileNotFoundError:
            raise CheckpointError(
                f"{path.parent} has no {path.name}; give the folder of a whole checkpoint."
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(
                f"{path} cannot be read as JSON ({error}); fetch the file anew."
            ) from None
        if not isinstance(values, dict):
            raise CheckpointError(f"{path} holds no JSON object; fetch the file anew.")
        return cls(values, str(path))

    def has(self, key: str) -> bool:
        return self.values.get(key) is not None

    def section(self, key: str) -> "Section":
        return Section(self._read(key, dict[str, Any]), f"{key} in {self.where}")

    def integer(self, key: str, default: int | None = None) -> int:
        """A positive one."""
        return int(self._read(key, PositiveInt, default))

    def number(self, key: str, default: float | None = None) -> float:
        """A positive one."""
        return float(self._read(key, PositiveFloat, default))

    def flag(self, key: str, default: bool) -> bool:
        return bool(self._read(key, bool, default))

    def text(self, key: str, default: str | None = None) -> str:
        return str(self._read(key, str, default))

    def choice(self, key: str, supported: tuple[str, ...], default: str | None = None) -> str:
        return str(self._read(key, _ONE_OF[supported], default))

    def integers(self, key: str, length: int | None = None) -> tuple[int, ...]:
        """Whole numbers of any sign."""
        return tuple(self._read(key, _list_of(int, length)))

    def numbers(self, key: str, length: int) -> list[float]:
        return list(self._read(key, _list_of(float, length)))

    def strings(self, key: str) -> list[str]:
        return list(self._read(key, list[str]))

    def triple(self, key: str, default: tuple[float, float, float]) -> tuple[float, float, float]:
        first, second, third = self._read(key, tuple[float, float, float], default)
        return first, second, third

    def _read(self, key: str, kind: Any, default: object = None) -> Any:
        """The key's value, if it is of this kind; `default` where it is missing or null."""
        value = self.values.get(key)
        try:
            return msgspec.convert(default if value is None else value, kind)
        except msgspec.ValidationError:
            given = _shown(self.values[key]) if key in self.values else "nothing"
            raise CheckpointError(
                f"{self.where} gives {given} as {key}, "
                f"but {_expected(kind)} is what export supports."
            ) from None


def _list_of(item: Any, length: int | None) -> Any:
    if length is None:
        return list[item]
    words = f"a list of {length:,} {_PLURAL[item]}"
    return Annotated[list[item], Meta(min_length=length, max_length=length, description=words)]
