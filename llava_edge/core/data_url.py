"""What a `data:` URL holds, and base64 as programs write it."""

import base64
from urllib.parse import unquote_to_bytes

from llava_edge.errors import PictureError

_STANDARD = bytes.maketrans(b"-_", b"+/")  # from the alphabet for URLs


def is_data_url(text: str) -> bool:
    """Whether a string is a `data:` URL rather than a path."""
    return text[:5].lower() == "data:"


def from_data_url(url: str) -> bytes:
    """The bytes in a `data:` URL (RFC 2397), whatever media type it names.

    Raises PictureError for one that is cut off or damaged.
    """
    head, comma, data = url.partition(",")
    if not is_data_url(head) or not comma:
        raise PictureError(
            "The data URL has no comma before its data; write data:image/png;base64,... ."
        )
    if head.rpartition(";")[2].strip().lower() == "base64":
        return from_base64(data)
    return unquote_to_bytes(data)


def from_base64(text: str) -> bytes:
    """The bytes that base64 stands for (RFC 4648), of either alphabet, padded or not, in lines.

    Characters may be escaped as in a URL. Raises PictureError where it is anything else.
    """
    try:
        digits = unquote_to_bytes(text) if "%" in text else text.encode("ascii")
        digits = digits.translate(_STANDARD, b" \t\r\n\f\v").rstrip(b"=")
        return base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except ValueError as error:  # binascii.Error is one, and so are characters outside of ASCII
        raise PictureError(
            "The picture's base64 is damaged or cut off; encode the file's bytes again."
        ) from error
