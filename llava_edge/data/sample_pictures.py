"""The pictures that a sample names or holds: names, bytes, data URLs, structs of `datasets`."""

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from llava_edge.data.sample_faults import SampleError

NamedPicture = str | bytes  # a name in the source's folder, or the bytes of a file
_NAMES = ("path", "url", "image", "file_name")
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
        named = next((value[key] for key in _NAMES if value.get(key)), None)
        held = data if isinstance(data, bytes) else _base64(data)
        if held or named is not None:  # a name stands for bytes that cannot be read
            return held or picture_of(named)
        if data is not None:
            return _decoded(data)
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
    if data := _base64(text):
        return data
    raise SampleError(
        "picture bytes", "holds a picture's bytes that are not base64; write them again."
    )


def _base64(text: Any) -> bytes:
    """What base64 holds, with or without padding, in either alphabet; nothing of another text."""
    if not isinstance(text, str):
        return b""
    plain = re.sub(r"\s", "", text).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError:  # binascii's own among them
        return b""
