"""A file of answers, one JSON object on each line, which a second run goes on with."""

import json
import os
from pathlib import Path
from typing import Any

from llava_edge.core.files import write_atomically
from llava_edge.errors import RecordError, UsageError

_SETTINGS = ".settings.json"


class AnswersFile:
    """Appends answers in the order of their questions; what is on disk stays.

    `settings` are what the answers depend on. They stand beside the file, and a file that was begun
    with others is refused.
    """

    def __init__(self, path: Path, settings: dict[str, Any], *, force: bool = False) -> None:
        self.path = path
        self._beside = path.with_name(path.name + _SETTINGS)
        text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
        try:
            if force:
                path.unlink(missing_ok=True)
                self._beside.unlink(missing_ok=True)
            self._check(text)
            self.done = _whole_lines(path)
            write_atomically(self._beside, text.encode())
            self._file = path.open("ab")
        except OSError as error:
            raise RecordError(
                f"{path} cannot be written ({error.strerror}); name another file with --out."
            ) from error

    def append(self, answer: dict[str, Any]) -> None:
        """Write an answer, whole, before anything else is done."""
        try:
            self._file.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise RecordError(
                f"{self.path} cannot be written ({error.strerror}); make room, and ask again to go "
                "on."
            ) from error

    def close(self) -> None:
        """Nothing more is appended."""
        self._file.close()

    def _check(self, text: str) -> None:
        if not self.path.exists():
            return
        before = self._beside.read_text(encoding="utf-8") if self._beside.exists() else None
        if before is None:
            raise UsageError(f"{self.path} exists already; name another file, or use --force.")
        if before != text:
            keys = _differing(before, text)
            raise UsageError(
                f"{self.path} was begun with other settings ({keys}); use the same again, name "
                "another file with --out, or begin anew with --force."
            )


def _whole_lines(path: Path) -> int:
    """How many lines are whole; the beginning of another one, of a run that was killed, is cut."""
    if not path.exists():
        return 0
    whole, end = 0, 0
    with path.open("rb+") as file:
        for line in file:
            if line.endswith(b"\n"):
                whole, end = whole + 1, end + len(line)
        file.truncate(end)
        os.fsync(file.fileno())
    return whole


def _differing(before: str, now: str) -> str:
    try:
        old, new = json.loads(before), json.loads(now)
        keys = [key for key in new if old.get(key) != new[key]]
        return ", ".join(keys)
    except (ValueError, AttributeError):
        return "they cannot be read"
