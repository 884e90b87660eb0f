"""Pictures from the wire: every spelling of base64 gives the same bytes, all else is refused."""

import asyncio
import io
import zlib
from base64 import b64encode, encodebytes, urlsafe_b64encode
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from llava_edge.core.picture import load_picture
from llava_edge.errors import PictureError
from llava_edge.serve.wire_errors import WireError
from llava_edge.serve.wire_pictures import (
    FORMATS,
    PICTURE_LIMITS,
    PictureLimits,
    picture_bytes,
    picture_refusal,
    read_pictures,
)


def picture(width: int = 7, height: int = 5, format: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").resize((width, height)).save(file, format)
    return file.getvalue()


PNG = picture()


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header promises a size, and which holds next to nothing."""

    def part(kind: bytes, data: bytes) -> bytes:
        return pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data))

    header = pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = part(b"IHDR", header) + part(b"IDAT", zlib.compress(b"")) + part(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def refusal(url: str, limits: PictureLimits = PICTURE_LIMITS) -> WireError:
    with pytest.raises(WireError) as caught:
        picture_bytes(url, limits, "messages[0].content[1]")
    assert caught.value.status == 400
    assert caught.value.param == "messages[0].content[1]"
    assert "0x" not in caught.value.message
    return caught.value


HEADS = [
    "",
    "data:image/png;base64,",
    "DATA:image/png;BASE64,",
    "data:;base64,",
    "data:image/jpeg;base64,",  # labelled wrongly
    "data:image/png;charset=utf-8;name=a.png;base64,",
    " data:image/png; base64,",
]
SPELLINGS = {
    "plain": lambda data: b64encode(data).decode(),
    "unpadded": lambda data: b64encode(data).decode().rstrip("="),
    "url-safe": lambda data: urlsafe_b64encode(data).decode(),
    "url-safe, unpadded": lambda data: urlsafe_b64encode(data).decode().rstrip("="),
    "in lines": lambda data: encodebytes(data).decode(),
    "in lines of Windows": lambda data: encodebytes(data).decode().replace("\n", "\r\n"),
    "between blanks": lambda data: f"  {b64encode(data).decode()}\t\n",
    "percent-encoded": lambda data: (
        b64encode(data).decode().replace("+", "%2B").replace("/", "%2f").replace("=", "%3D")
    ),
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("spelling", SPELLINGS)
@settings(max_examples=20)
@given(tail=st.binary(max_size=70))
def test_every_spelling_gives_the_same_bytes(head: str, spelling: str, tail: bytes) -> None:
    data = PNG + tail  # what follows a PNG's end is no part of it
    assert picture_bytes(head + SPELLINGS[spelling](data)) == data


@pytest.mark.parametrize("format", FORMATS)
def test_the_content_decides_the_type(format: str) -> None:
    data = picture(format=format)
    url = f"data:text/plain;base64,{b64encode(data).decode()}"
    assert picture_bytes(url) == data


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (3, 3), (1, 4000)])
def test_small_and_thin_pictures_are_read(size: tuple[int, int]) -> None:
    data = picture_bytes(b64encode(picture(*size)).decode())
    assert load_picture(data).size == size


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://example.com/a.png", "web address"),
        ("HTTPS://example.com/a.png", "web address"),
        ("file:///etc/passwd", "opens none"),
        ("ftp://example.com/a.png", "kind that is not known"),
        ("blob:http://localhost/1", "kind that is not known"),
        ("javascript:alert(1)", "kind that is not known"),
        ("/etc/passwd", "neither"),
        ("photo.jpg", "neither"),
        ("../photo", "neither"),
        ("C:\\photo.jpg", "neither"),
        ("\\\\server\\share\\photo.jpg", "neither"),
        ("~/photo.jpg", "neither"),
        ("sch\xf6n", "neither"),
        ("data:image/png;base64", "not in base64"),
        ("data:image/png,abc", "not in base64"),
        ("data:image/svg+xml;utf8,<svg/>", "not in base64"),
        ("data:image/png;base64;x,abc", "not in base64"),
        ("data:image/png;base64,ab!cdef", "damaged"),
        ("data:image/png;base64,ab=cdef", "damaged"),
        ("data:image/png;base64,abcde", "damaged"),
        ("data:image/png;base64,sch\xf6n", "damaged"),
        ("data:image/png;base64,%zz", "damaged"),
        ("", "empty"),
        ("data:image/png;base64,", "empty"),
        ("data:image/png;base64,====", "empty"),
    ],
)
def test_what_is_no_picture_in_base64_is_refused_by_kind(url: str, told: str) -> None:
    assert told in refusal(url).message


def test_a_path_that_is_there_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "picture"  # whose name has letters of base64 only
    path.write_bytes(PNG)
    for url in (str(path), path.as_uri(), f"data:image/png;base64,{path}"):
        refusal(url)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"<!DOCTYPE html><title>Not found</title>", "invalid_image"),
        (b"\n <html>", "invalid_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image_parse_error"),
        (b"{}", "image_parse_error"),
        (PNG[:20], "image_parse_error"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "image_parse_error"),
        (png_of(0, 5), "image_parse_error"),
        (png_of(8000, 8000), "image_too_large"),
        (png_of(30_000, 30_000), "image_too_large"),
        (png_of(2**31 - 1, 2**31 - 1), "image_too_large"),
        (picture(16, 16, "ICO"), "image_parse_error"),
        (picture(2, 2, "PPM"), "image_parse_error"),
    ],
    ids=range(12),
)
def test_what_is_no_picture_that_is_read_is_refused(data: bytes, code: str) -> None:
    assert refusal(f"data:image/png;base64,{b64encode(data).decode()}").code == code


def test_each_limit_is_one() -> None:
    url = b64encode(picture(8, 6)).decode()
    size = len(picture(8, 6))
    assert picture_bytes(url, PictureLimits(bytes=size, pixels=48))
    assert refusal(url, PictureLimits(bytes=size - 1)).code == "image_file_too_large"
    assert refusal(url, PictureLimits(pixels=47)).code == "image_too_large"


def test_a_decoders_own_words_stay_inside() -> None:
    with pytest.raises(PictureError) as caught:
        load_picture(picture(90, 80, "JPEG")[:-100])
    words = str(caught.value.__cause__)
    assert words and words in str(caught.value)
    assert words not in picture_refusal(caught.value).message


def test_the_pictures_of_a_request_are_read_in_their_order() -> None:
    pictures = [picture(side, side) for side in range(1, 4)]
    urls = [(str(at), b64encode(data).decode()) for at, data in enumerate(pictures)]
    assert asyncio.run(read_pictures(urls, PictureLimits(pictures=3))) == pictures


def test_more_pictures_than_are_allowed_are_refused() -> None:
    with pytest.raises(WireError, match="at most 10") as caught:
        asyncio.run(read_pictures([("", "not looked at")] * 11))
    assert caught.value.code == "too_many_images"


def test_the_place_of_the_faulty_picture_is_told() -> None:
    urls = [("first", b64encode(PNG).decode()), ("second", "https://example.com/")]
    with pytest.raises(WireError) as caught:
        asyncio.run(read_pictures(urls))
    assert caught.value.param == "second"
