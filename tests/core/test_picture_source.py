"""A picture is the same picture, whatever a program holds it in."""

import base64
import io
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from llava_edge.core import picture_source
from llava_edge.core.picture import load_picture, picture_size
from llava_edge.core.picture_source import PictureSource, is_picture_source, name_of, read_bytes
from llava_edge.errors import PictureError, UsageError

CHANNELS = st.sampled_from([(), (1,), (3,), (4,)])


@st.composite
def pixels(draw: st.DrawFn) -> npt.NDArray[np.uint8]:
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=9))
    return draw(arrays(np.uint8, (*shape, *draw(CHANNELS))))


def png(array: npt.NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array[:, :, 0] if array.shape[2:] == (1,) else array).save(file, "PNG")
    return file.getvalue()


class Reader:
    """The least that is a file: it can be read, once."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, 100))


def containers(content: bytes) -> Iterator[PictureSource]:
    yield content
    yield bytearray(content)
    yield memoryview(content)
    yield memoryview(b"_" + content)[1:]
    yield io.BytesIO(content)
    yield io.BufferedReader(io.BytesIO(content))
    yield Reader(content)
    yield "data:image/webp;base64," + base64.b64encode(content).decode()
    at_its_end = io.BytesIO(content)
    at_its_end.read()
    yield at_its_end


@given(pixels())
def test_an_array_is_what_its_png_is(array: npt.NDArray[np.uint8]) -> None:
    content = png(array)
    expected = load_picture(content)
    assert load_picture(array) == expected
    assert load_picture(array[::-1, ::-1][::-1, ::-1]) == expected  # strides of its own
    assert load_picture((array / 255).astype(np.float32)) == expected
    assert picture_size(array) == array.shape[:2]
    for source in containers(content):
        assert is_picture_source(source)
        assert load_picture(source) == expected
    for source in containers(content):
        assert read_bytes(source) == content
    for source in containers(content):
        assert picture_size(source) == array.shape[:2]


def test_paths_and_pipes(tmp_path: Path, photo_file: Path) -> None:
    content = photo_file.read_bytes()
    assert read_bytes(photo_file) == read_bytes(str(photo_file)) == content
    readable, writable = os.pipe()

    def write() -> None:
        with os.fdopen(writable, "wb") as file:
            file.write(content)

    thread = Thread(target=write)
    thread.start()
    with os.fdopen(readable, "rb") as pipe:
        assert load_picture(pipe) == load_picture(photo_file)
    thread.join()


def test_names() -> None:
    with open(__file__, "rb") as file:
        assert (
            name_of(file) == name_of(Path(__file__)) == name_of(__file__) == f"The file {__file__}"
        )
    assert name_of(memoryview(bytearray(1234))) == "The picture of 1,234 bytes"
    assert name_of("data:,abc") == name_of(io.BytesIO()) == "The picture"


@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0, np.nan, np.inf])
def test_floats_are_from_0_to_1(value: float) -> None:
    array = np.full((4, 5), 0.5)
    array[2, 3] = value
    with pytest.raises(PictureError, match="floats are not all from 0 to 1; scale them"):
        load_picture(array)


@pytest.mark.parametrize("kind", [np.int64, np.uint16, np.bool_, np.complex64, np.str_])
def test_other_numbers_are_refused(kind: type[np.generic]) -> None:
    with pytest.raises(UsageError, match=r"^A picture of the type ndarray \(.* \[4, 5, 3\]\)"):
        is_picture_source(np.zeros((4, 5, 3), kind))


@pytest.mark.parametrize("shape", [(), (5,), (0, 5), (3, 8, 8), (4, 5, 2), (1, 4, 5, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"give uint8, or floats from 0 to 1, in the shape"):
        is_picture_source(np.zeros(shape, np.uint8))


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(__file__) as text, pytest.raises(UsageError, match='open it with "rb"'):
        is_picture_source(text)
    closed = io.BytesIO(b"x")
    closed.close()
    for source, said in (
        (closed, "cannot be read .I/O operation on closed file"),
        (tmp_path / "gone.png", "gone.png does not exist"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(PictureError, match=said):
            read_bytes(source)
    monkeypatch.setattr(picture_source, "MAX_BYTES", 99)
    with pytest.raises(PictureError, match="has more than 99 bytes"):
        read_bytes(io.BytesIO(bytes(100)))
    assert read_bytes(io.BytesIO(bytes(99))) == bytes(99)
