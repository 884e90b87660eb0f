"""A picture read, decoded and preprocessed, in a thread that can be left behind at each step."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from PIL import Image

from llava_edge.core.array_types import Floats
from llava_edge.core.bundle_config import VisionConfig
from llava_edge.core.picture import load_picture, preprocess
from llava_edge.core.picture_source import NamedFile, PictureSource, name_of, read_bytes
from llava_edge.core.tiles import cut
from llava_edge.runtime.devices.fair_lock import FairLock

DECODERS = 2  # at a time in this process: a large picture takes 0.7 GB while it is decoded
_decoders = FairLock(DECODERS)


@dataclass(frozen=True)
class PicturePixels:
    """What the tower sees of a picture; `key` is the same for the same pixels."""

    pixels: Floats  # [n, 3, H, W]
    size: tuple[int, int]  # width and height of the picture
    key: bytes


@dataclass(frozen=True)
class ReadPicture:
    """A picture that is not decoded yet; one that is given as pixels has no file's content."""

    source: PictureSource
    content: bytes | None
    digest: bytes | None


def read(source: PictureSource, check: Callable[[], None]) -> ReadPicture:
    """Read a source to its end; `check` may raise between two reads. Raises PictureError."""
    content = read_bytes(source, check)
    return ReadPicture(source, content, None if content is None else sha256(content).digest())


def decode(picture: ReadPicture, config: VisionConfig, check: Callable[[], None]) -> PicturePixels:
    """Decode and preprocess it, when one of the few decoders is free. Raises PictureError."""
    with _decoders.held(check):
        decoded = load_picture(_watched(picture, check))
        check()
        pixels = _pixels(decoded, config)
    key = sha256(pixels.tobytes() + repr(decoded.size).encode()).digest()
    return PicturePixels(pixels, decoded.size, key)


def _pixels(picture: Image.Image, config: VisionConfig) -> Floats:
    """[n, 3, H, W]: the picture, or it and its tiles."""
    if config.tiles is not None:
        return cut(picture, config.image, config.tiles)
    return preprocess(picture, config.image)[np.newaxis]


def _watched(picture: ReadPicture, check: Callable[[], None]) -> PictureSource:
    """The source, such that Pillow's decoder, which reads 64 kB at a time, ends when told to."""
    if picture.content is None:
        return picture.source
    return NamedFile(name_of(picture.source), _WatchedBytes(picture.content, check))


class _WatchedBytes(io.BytesIO):
    def __init__(self, content: bytes, check: Callable[[], None]) -> None:
        super().__init__(content)
        self._check = check

    def read(self, size: int | None = -1, /) -> bytes:
        self._check()
        return super().read(size)
