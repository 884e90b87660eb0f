"""Pictures as clients send them: base64 text, in a `data:` URL or bare, and never a path."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from llava_edge.core.data_url import from_base64
from llava_edge.core.picture import pixels_of
from llava_edge.errors import LargePictureError, PictureError
from llava_edge.serve.remote_pictures import RemotePictures
from llava_edge.serve.wire_errors import WireError

# Those that browsers and cameras write: an ICO file hides the size of what is in it, and a PPM of
# text is read by a loop in Python.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]{1,20}):", re.IGNORECASE)  # one letter is a Windows drive
_INSTEAD = "send the picture itself, as data:image/jpeg;base64,..."


@dataclass(frozen=True, kw_only=True)
class PictureLimits:
    """How many pictures a request may have, and how large each may be."""

    pictures: int = 10
    bytes: int = 20 * 2**20
    pixels: int = 50_000_000


PICTURE_LIMITS = PictureLimits()


async def read_pictures(
    urls: Sequence[tuple[str, str]],
    limits: PictureLimits = PICTURE_LIMITS,
    remote: RemotePictures | None = None,
) -> list[bytes]:
    """The pictures of a request, each given as its place (`messages[0].content[1]`) and its URL.

    Web addresses are fetched where `remote` is given. Raises WireError.
    """
    if len(urls) > limits.pictures:
        raise WireError(
            400,
            f"The request has {len(urls)} pictures; send at most {limits.pictures}.",
            code="too_many_images",
        )
    pictures = []
    for place, url in urls:
        if remote is not None and _scheme(url) in ("http", "https"):
            data = await remote.fetch(url, limits.bytes, place)
            await asyncio.to_thread(check_picture, data, limits, place)
        else:
            data = await asyncio.to_thread(picture_bytes, url, limits, place)
        pictures.append(data)
    return pictures


def picture_bytes(
    image_url: str, limits: PictureLimits = PICTURE_LIMITS, place: str | None = None
) -> bytes:
    """The file in a `data:` URL (RFC 2397), or in base64 text without one.

    The alphabet may be the URL-safe one, padding may be missing, line breaks may stand in it; the
    media type is not believed. Raises WireError for everything else, with `place` as its param.
    """
    data = _decoded(image_url, place)
    try:
        check_picture(data, limits, place)
    except WireError as error:
        if error.code == "image_parse_error" and _scheme(image_url) is None:
            raise _neither(place) from None  # a path may have letters of base64 only
        raise
    return data


def check_picture(
    data: bytes, limits: PictureLimits = PICTURE_LIMITS, place: str | None = None
) -> None:
    """Raise WireError for what is no picture, or a too large one, by its header alone."""
    if not data:
        raise _refused("The picture is empty; send a whole file.", "empty_image_file", place)
    if len(data) > limits.bytes:
        raise _refused(
            f"The picture has {len(data):,} bytes; send at most {limits.bytes:,}.",
            "image_file_too_large",
            place,
        )
    if data[:64].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise _refused(
            "The picture is a page in HTML; send the file of the picture.", "invalid_image", place
        )
    try:
        pixels = pixels_of(data, FORMATS)
    except PictureError as error:
        raise picture_refusal(error, limits, place) from None
    if pixels > limits.pixels:
        raise _too_large(limits, place)


def picture_refusal(
    error: PictureError, limits: PictureLimits = PICTURE_LIMITS, place: str | None = None
) -> WireError:
    """The server's own sentence for a picture that is refused: a decoder's tells too much."""
    if isinstance(error, LargePictureError):
        return _too_large(limits, place)
    return _refused(
        "The picture cannot be decoded; send a whole PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF file.",
        "image_parse_error",
        place,
    )


def _decoded(image_url: str, place: str | None) -> bytes:
    """The bytes of the base64 text, of which nothing is skipped but white space."""
    text = _base64_text(image_url, place)
    try:
        return from_base64(text)
    except PictureError:
        if _scheme(image_url) is None:
            raise _neither(place) from None
        raise _refused(
            "The base64 text of the picture is damaged; encode the file again.",
            "invalid_base64_image",
            place,
        ) from None


def _base64_text(image_url: str, place: str | None) -> str:
    scheme = _scheme(image_url)
    if scheme is None:
        return image_url
    if scheme == "data":
        head, comma, text = image_url.partition(",")
        if not comma or head.rpartition(";")[2].strip().lower() != "base64":
            raise _refused(
                f"The data: URL of the picture is not in base64; {_INSTEAD}",
                "invalid_image_url",
                place,
            )
        return text
    what = {
        "http": "a web address, and this server fetches none",
        "https": "a web address, and this server fetches none",
        "file": "the address of a file, and this server opens none for its clients",
    }.get(scheme, "an address of a kind that is not known")
    raise _refused(f"The picture is {what}; {_INSTEAD}", "invalid_image_url", place)


def _scheme(url: str) -> str | None:
    match = _SCHEME.match(url.lstrip())
    return match[1].lower() if match else None


def _too_large(limits: PictureLimits, place: str | None) -> WireError:
    what = f"The picture has too many pixels; send one of at most {limits.pixels:,}."
    return _refused(what, "image_too_large", place)


def _neither(place: str | None) -> WireError:
    what = f"The picture is neither a data: URL nor a picture in base64; {_INSTEAD}"
    return _refused(what, "invalid_base64_image", place)


def _refused(what: str, code: str, place: str | None) -> WireError:
    return WireError(400, what, code=code, param=place)
