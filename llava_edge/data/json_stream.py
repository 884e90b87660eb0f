"""JSON samples, one at a time, out of a file of any size: a list of them, or one on each line."""

import gzip
import json
import zlib
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from llava_edge.errors import RecordError

CHUNK = 1 << 20  # characters read at once
LONGEST = 1 << 26  # characters of one sample
CUT = 16  # an error that near to a chunk's end may be the chunk's own
GZIP = b"\x1f\x8b"
_SPACE = " \t\r\n"
_EXPECTED = "a JSON list of samples, or one sample on each line, is expected"


@dataclass(frozen=True)
class NotJson:
    """Stands for the value of a text that is not JSON, and says why it is not."""

    reason: str


@dataclass(frozen=True)
class JsonText:
    """One sample: its text, the line of the file (from 1) on which it begins, and its value."""

    text: str
    line: int
    value: Any  # a NotJson where the line of a JSONL file is broken


def decode(text: str) -> Any:
    """The value of a JSON text, or a NotJson."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        return NotJson(str(error))


def read_json_texts(path: Path) -> Iterator[JsonText]:
    """The samples of a JSON list, or of a JSONL file, each decoded once.

    Raises RecordError for a file that cannot be read, or for a list at the line where it breaks.
    """
    try:
        with _opened(path) as stream:
            is_list = _first_character(stream) == "["
            stream.seek(0)
            yield from _List(path, stream).texts() if is_list else _lines(stream)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise RecordError(f"The records {path} cannot be read ({error}); {_EXPECTED}.") from error


def _opened(path: Path) -> TextIO:
    """The text of a file, or of what gzip has packed in it."""
    with path.open("rb") as file:
        head = file.read(4)
    if head.startswith(GZIP):
        return gzip.open(path, "rt", encoding="utf-8-sig")
    if head.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) or b"\0" in head:
        raise RecordError(f"The records {path} are UTF-16 or UTF-32; save the file as UTF-8.")
    return path.open(encoding="utf-8-sig")


def _first_character(stream: TextIO) -> str:
    while chunk := stream.read(64):
        if words := chunk.strip():
            return words[0]
    return ""


def _lines(stream: TextIO) -> Iterator[JsonText]:
    for line, text in enumerate(stream, 1):
        if text.strip():
            yield JsonText(text.strip(), line, decode(text.strip()))


class _List:
    """A JSON list that is read in chunks; what is left in `buffer` begins on `line`."""

    def __init__(self, path: Path, stream: TextIO) -> None:
        self._path = path
        self._stream = stream
        self._buffer = ""
        self._position = 0  # of what comes next in the buffer
        self._line = 1
        self._ended = False
        self._decoder = json.JSONDecoder()

    def texts(self) -> Iterator[JsonText]:
        self._take("[")
        closed = self._next() == "]" and bool(self._take("]"))
        while not closed:
            yield self._sample()
            closed = self._take(",", "]") == "]"
        if found := self._next():
            raise self._broken(f"{found!r} follows the end of the list")

    def _sample(self) -> JsonText:
        self._next()
        size = CHUNK
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._position)
                break
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or error.pos + CUT > len(self._buffer)
                held = len(self._buffer) - self._position
                if not cut or self._ended or held > LONGEST:
                    self._advance(min(error.pos, len(self._buffer)))
                    raise self._broken(error.msg) from error
                self._read(size)
                size *= 2
            except RecursionError as error:
                raise self._broken("it is nested too deeply") from error
        text = JsonText(self._buffer[self._position : end], self._line, value)
        self._advance(end)
        return text

    def _take(self, *wanted: str) -> str:
        """The next character, which must be one of those wanted."""
        found = self._next()
        if found not in wanted:
            what = f"{found!r} was found" if found else "the file ends"
            raise self._broken(f"{what} where {' or '.join(wanted)} should be")
        self._advance(self._position + 1)
        return found

    def _next(self) -> str:
        """Skip white space; the character after it, which is not taken, or "" at the end."""
        while True:
            rest = self._position
            while rest < len(self._buffer) and self._buffer[rest] in _SPACE:
                rest += 1
            self._advance(rest)
            if rest < len(self._buffer):
                return self._buffer[rest]
            if self._ended:
                return ""
            self._read(CHUNK)

    def _advance(self, position: int) -> None:
        self._line += self._buffer.count("\n", self._position, position)
        self._position = position

    def _read(self, size: int) -> None:
        more = self._stream.read(size)
        self._ended = not more
        self._buffer = self._buffer[self._position :] + more
        self._position = 0

    def _broken(self, reason: str) -> RecordError:
        return RecordError(
            f"The records {self._path} break at line {self._line} ({reason}); {_EXPECTED}, so "
            "mend the file or download it again."
        )
