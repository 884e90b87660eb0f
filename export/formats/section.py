"""JSON read strictly: a value that is missing or of the wrong kind ends in one sentence."""

import json
from collections.abc import Mapping
from pathlib import Path

from llava_edge.errors import CheckpointError


class Section:
    """An object of a JSON file, whose values are checked as they are read."""

    def __init__(self, values: Mapping[str, object], where: str) -> None:
        self.values = values
        self.where = where

    @classmethod
    def from_file(cls, path: Path) -> "Section":
        """Raises CheckpointError where the file cannot be read or holds no JSON object."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CheckpointError(
                f"{path.parent} has no {path.name}; give the folder of a whole checkpoint."
            ) from None
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{path} cannot be read as JSON ({error}); fetch the file anew."
            ) from None
        if not isinstance(values, dict):
            raise CheckpointError(f"{path} holds no JSON object; fetch the file anew.")
        return cls(values, str(path))

    def has(self, key: str) -> bool:
        return self.values.get(key) is not None

    def section(self, key: str) -> "Section":
        value = self.values.get(key)
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return Section(value, f"{key} in {self.where}")

    def integer(self, key: str, default: int | None = None) -> int:
        value = self._get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self._wrong(key, "a positive whole number")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self._get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            raise self._wrong(key, "a positive number")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, "a string")
        return value

    def choice(self, key: str, supported: tuple[str, ...], default: str | None = None) -> str:
        value = self._get(key, default)
        if not isinstance(value, str) or value not in supported:
            raise self._wrong(key, " or ".join(f'"{name}"' for name in supported))
        return value

    def integers(self, key: str, length: int | None = None) -> tuple[int, ...]:
        """A list of whole numbers of any sign."""
        value = self.values.get(key)
        right = isinstance(value, list) and all(type(item) is int for item in value)
        if not right or not isinstance(value, list) or (length and len(value) != length):
            raise self._wrong(key, "a list of whole numbers")
        return tuple(value)

    def numbers(self, key: str, length: int) -> list[float]:
        value = self.values.get(key)
        right = isinstance(value, list) and len(value) == length
        if not isinstance(value, list) or not right:
            raise self._wrong(key, f"a list of {length} numbers")
        return [float(item) for item in value]

    def strings(self, key: str) -> list[str]:
        value = self.values.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(key, "a list of strings")
        return value

    def triple(self, key: str, default: tuple[float, float, float]) -> tuple[float, float, float]:
        value = self._get(key, list(default))
        if not isinstance(value, list) or len(value) != 3:
            raise self._wrong(key, "three numbers")
        if not all(isinstance(item, int | float) for item in value):
            raise self._wrong(key, "three numbers")
        return float(value[0]), float(value[1]), float(value[2])

    def _get(self, key: str, default: object) -> object:
        value = self.values.get(key)
        return default if value is None else value

    def _wrong(self, key: str, expected: str) -> CheckpointError:
        given = json.dumps(self.values[key], default=str) if key in self.values else "nothing"
        given = given if len(given) < 100 else given[:100] + "..."
        return CheckpointError(
            f"{self.where} gives {given} as {key}, but {expected} is what export supports."
        )
