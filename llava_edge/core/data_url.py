"""What a `data:` URL holds, and base64 as programs write it."""

import base64
import binascii
from urllib.parse import unquote_to_bytes

from llava_edge.errors import PictureError

_ALPHABET = str.maketrans("-_", "+/", " \t\r\n\f\v=")  # also RFC 4648's for URLs, in lines


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
        return from_base64(unquote_to_bytes(data).decode("ascii", "replace"))
    return unquote_to_bytes(data)


def from_base64(text: str) -> bytes:
    """The bytes that base64 stands for (RFC 4648), of either alphabet, padded or not, in lines.

    Raises PictureError where it is anything else.
    """
    digits = text.translate(_ALPHABET)
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError) as error:  # as for characters outside of ASCII
        raise PictureError(
            "The picture's base64 is damaged or cut off; encode the file's bytes again."
        ) from error
