"""The pictures that a sample names or holds: names, bytes, data URLs, structs of `datasets`."""

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from llava_edge.data.sample_faults import SampleError

NamedPicture = str | bytes  # a name in the source's folder, or the bytes of a file
_REMOTE = ("http://", "https://", "s3://", "gs://", "hf://")


def pictures_of(sample: Mapping[str, Any]) -> list[NamedPicture]:
    """What `image` and `images` name, in their order; a sample has none, one or several.

    Raises SampleError, and ValueError for values that are no picture.
    """
    found = [_listed(sample.get(key)) for key in ("image", "images")]
    image, images = ([picture_of(value) for value in values] for values in found)
    if image and images and image != images:
        raise SampleError(
            "pictures named twice", "has both image and images, which differ; keep one of them."
        )
    return image or images


def picture_of(value: Any) -> NamedPicture:
    """A picture's name or bytes; raises SampleError, and ValueError for what is no picture."""
    if isinstance(value, bytes) and value:
        return value
    if isinstance(value, str) and value:
        return _of_text(value)
    if isinstance(value, Mapping):  # as `datasets` and OpenAI's messages hold it
        data = value.get("bytes")
        if data is not None:
            return picture_of(data) if isinstance(data, bytes) else _decoded(data)
        for key in ("path", "url", "image", "file_name"):
            if value.get(key):
                return picture_of(value[key])
    raise ValueError(f"image is {value!r}, not a name, a list of names, or a file's bytes")


def _listed(value: Any) -> list[Any]:
    if value is None or value == "" or value == []:
        return []
    return value if isinstance(value, list) else [value]


def _of_text(text: str) -> NamedPicture:
    if text.startswith("data:"):
        return _decoded(text.partition(",")[2])
    if text.lower().startswith(_REMOTE):
        raise SampleError(
            "remote picture",
            f"names {text[:80]}, but nothing is fetched from a network; download the picture and "
            "name its file.",
        )
    text.encode()  # half a surrogate pair, which UTF-8 cannot hold, is a ValueError
    return text


def _decoded(text: Any) -> bytes:
    """base64, with or without padding, in either alphabet."""
    if isinstance(text, str):
        plain = re.sub(r"\s", "", text).replace("-", "+").replace("_", "/").rstrip("=")
        try:
            if data := b64decode(plain + "=" * (-len(plain) % 4), validate=True):
                return data
        except (binascii.Error, ValueError):
            pass
    raise SampleError(
        "picture bytes", "holds a picture's bytes that are not base64; write them again."
    )
