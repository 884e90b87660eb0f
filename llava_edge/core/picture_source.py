"""What a program may hold a picture in, and how it is read: as a file's bytes, or as pixels."""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, TypeGuard, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from llava_edge.core.data_url import from_data_url, is_data_url
from llava_edge.errors import LargePictureError, PictureError, UsageError

MAX_BYTES = 2 * 2**30  # of a file; uncompressed, the largest picture has about as many
MAX_PIXELS = 178_000_000  # just below where Pillow itself refuses; 0.7 GB once decoded
_CHUNK = 2**20  # bytes that are read at once
_FORMATS_SENTENCE = "give a PNG, JPEG, WebP, GIF, BMP or TIFF file"
_ARRAYS = "give uint8, or floats from 0 to 1, in the shape [H, W] or [H, W, 1, 3 or 4]"


@runtime_checkable
class BinaryFile(Protocol):
    """A file that is open for reading bytes; it need not be seekable."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, up to `size`; none at the end."""


@dataclass(frozen=True)
class TarMember:
    """A file inside an uncompressed tar file: `size` bytes at `offset`."""

    path: Path  # of the tar file
    name: str
    offset: int
    size: int

    def read(self) -> bytes:
        """Its bytes; raises OSError where the tar file cannot be read."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def __str__(self) -> str:
        return f"{self.name} in {self.path}"


@dataclass(frozen=True)
class NamedFile:
    """A file in memory, and what messages call it."""

    name: str
    content: IO[bytes]


Array = npt.NDArray[np.generic]
Held = bytes | bytearray | memoryview
PictureSource = Path | str | Held | BinaryFile | Array | Image.Image | TarMember | NamedFile
_KINDS = (Path, str, Held, BinaryFile, np.ndarray, Image.Image, TarMember, NamedFile)


def is_picture_source(source: object) -> TypeGuard[PictureSource]:
    """Whether a picture could be read of it; raises UsageError for other arrays and text files."""
    if isinstance(source, np.ndarray):
        _check_array(source)
    if isinstance(source, io.TextIOBase):
        raise UsageError('A picture was given as a file open for text; open it with "rb".')
    return isinstance(source, _KINDS)


def name_of(source: PictureSource) -> str:
    """What messages call a picture."""
    if isinstance(source, NamedFile):
        return source.name
    if isinstance(source, Held):
        return f"The picture of {memoryview(source).nbytes:,} bytes"
    if isinstance(source, Path | TarMember) or (
        isinstance(source, str) and not is_data_url(source)
    ):
        return f"The file {source}"
    name = getattr(source, "name", None)
    return f"The file {name}" if isinstance(name, str) and name else "The picture"


def read_bytes(source: PictureSource, check: Callable[[], None] = lambda: None) -> bytes | None:
    """The bytes of a picture's file; None where a picture is given as pixels.

    A seekable file is read from its beginning. `check` is called between two reads, and may raise.
    Raises PictureError where the file is missing, cannot be read, or is too large.
    """
    if isinstance(source, Image.Image | np.ndarray):
        return None
    if isinstance(source, Held):
        return bytes(source)
    if isinstance(source, str) and is_data_url(source):
        return from_data_url(source)
    name = name_of(source)
    with explained(name):
        if isinstance(source, TarMember):
            return source.read()
        if isinstance(source, Path | str):
            with Path(source).expanduser().open("rb") as file:
                return _read(file, name, check)
        content: BinaryFile = source.content if isinstance(source, NamedFile) else source
        if isinstance(content, io.IOBase) and content.seekable():
            content.seek(0)
        return _read(content, name, check)


def from_array(array: Array) -> Image.Image:
    """A picture of an array: grey [H, W] or [H, W, 1], RGB [H, W, 3] or RGBA [H, W, 4].

    Floats are 0 for black to 1 for white. Raises UsageError for other types and shapes, and
    PictureError for floats beyond.
    """
    _check_array(array)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype.kind == "f":
        floats = array.astype(np.float32)
        if not ((floats >= 0) & (floats <= 1)).all():
            raise PictureError(
                "The picture's floats are not all from 0 to 1; scale them, or give uint8."
            )
        array = np.rint(floats * 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(array))


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Within it, what fails while a picture is opened is raised as a PictureError."""
    try:
        yield
    except PictureError:
        raise
    except FileNotFoundError as error:
        raise PictureError(f"{name} does not exist; {_FORMATS_SENTENCE}.") from error
    except IsADirectoryError as error:
        raise PictureError(f"{name} is a folder; {_FORMATS_SENTENCE}.") from error
    except UnidentifiedImageError as error:
        raise PictureError(f"{name} is not a picture; {_FORMATS_SENTENCE}.") from error
    except Image.DecompressionBombError as error:
        raise too_large(f"{name} has too many pixels") from error
    except Exception as error:  # any kind, on broken headers and unreadable files
        raise PictureError(f"{name} cannot be read ({reason(error)}); {_FORMATS_SENTENCE}.") from (
            error
        )


def too_large(what: str) -> PictureError:
    """The error for a picture of too many pixels."""
    return LargePictureError(f"{what}, but at most {MAX_PIXELS:,} are read; make it smaller first.")


def reason(error: Exception) -> str:
    """What an error says, in one line, without the addresses that a repr holds."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    text = re.sub(r"<[^<>]* at 0x[0-9a-fA-F]+>", "the file", str(text))
    return " ".join(text.split()).rstrip(".")


def _read(file: BinaryFile, name: str, check: Callable[[], None]) -> bytes:
    chunks: list[bytes] = []
    left = MAX_BYTES
    while chunk := file.read(_CHUNK):
        check()
        chunks.append(chunk)
        left -= len(chunk)
        if left < 0:
            raise LargePictureError(
                f"{name} has more than {MAX_BYTES:,} bytes; make the picture smaller first."
            )
    return b"".join(chunks)


def _check_array(array: Array) -> None:
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if not fits or not array.size or (array.dtype != np.uint8 and array.dtype.kind != "f"):
        shape = ", ".join(map(str, array.shape))
        kind = f"ndarray ({array.dtype} [{shape}])"
        raise UsageError(f"A picture of the type {kind} was given; {_ARRAYS}.")
