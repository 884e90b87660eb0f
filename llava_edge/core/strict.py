"""JSON or TOML to frozen dataclasses, strictly: each key known, each value of its type."""

import dataclasses
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def parse(cls: type[T], value: object, where: str = "") -> T:
    """Build the dataclass `cls`, whose defaults stand for keys that are not there.

    Raises ValueError that names the first wrong place.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{where or 'the top'} is not an object")
    hints = get_type_hints(cls)
    _check_keys(cls, set(value), where)
    fields = {
        name: _convert(hints[name], item, f"{where}.{name}" if where else name)
        for name, item in value.items()
    }
    try:
        return cls(**fields)
    except ValueError as error:  # of values that contradict each other
        raise ValueError(f"in {where}, {error}" if where else str(error)) from error


def _check_keys(cls: type, found: set[str], where: str) -> None:
    prefix = f"{where}." if where else ""
    fields = {field.name: field.default is dataclasses.MISSING for field in dataclasses.fields(cls)}
    if missing := sorted(name for name, needed in fields.items() if needed and name not in found):
        raise ValueError(f"{prefix}{missing[0]} is missing")
    if unknown := sorted(found - set(fields)):
        raise ValueError(f"{prefix}{unknown[0]} is not known")


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):  # X | None, or bool | int
        if value is None and type(None) in arguments:
            return None
        kinds = [argument for argument in arguments if argument is not type(None)]
        kind = next((kind for kind in kinds if type(value) is kind), kinds[0])
        return _convert(kind, value, where)
    if origin is Literal:
        if not any(type(value) is type(choice) and value == choice for choice in arguments):
            raise ValueError(f"{where} is {value!r}, not one of {arguments}")
        return value
    if origin is tuple:
        return _tuple(arguments, value, where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} is not an object")
        return {key: _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return parse(hint, value, where)
    return _scalar(hint, value, where)


def _tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{where} is {value!r}, not a list")
    hints = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
    if len(value) != len(hints):
        raise ValueError(f"{where} has {len(value)} items, not {len(hints)}")
    return tuple(
        _convert(hint, item, f"{where}[{index}]")
        for index, (hint, item) in enumerate(zip(hints, value, strict=True))
    )


def _scalar(kind: type, value: Any, where: str) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if kind is Path and type(value) is str:
        return Path(value)
    if type(value) is not kind:  # exactly: True is no number here
        raise ValueError(f"{where} is {value!r}, not of type {kind.__name__}")
    return value
