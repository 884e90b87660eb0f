"""A picture from a file or memory becomes safe RGB, then pixels; training runs the same code."""

import io
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps
from PIL.PngImagePlugin import PngImageFile

from llava_edge.core.bundle_config import ImageConfig
from llava_edge.core.data_url import is_data_url
from llava_edge.core.grey_depth import declared_depth, is_deep, to_8_bits
from llava_edge.core.picture_source import (
    MAX_PIXELS,
    NamedFile,
    explained,
    from_array,
    name_of,
    read_bytes,
    reason,
    too_large,
)
from llava_edge.core.picture_source import PictureSource as PictureSource
from llava_edge.core.picture_source import TarMember as TarMember
from llava_edge.errors import PictureError

MAX_ASPECT = 50  # of the strip that mode "square" resizes before it crops
MAX_CANVAS_SIDE = 8192  # of the square that mode "pad" draws
# Named, so that no other decoder of Pillow's (EPS starts a program) ever sees a user's file.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "ICO")


def load_picture(source: PictureSource) -> Image.Image:
    """Decode a picture (a path, bytes, a file, an array, ...) to upright 8-bit RGB.

    EXIF rotation is applied, alpha is laid on white, deeper greys are scaled to 8 bits, and of an
    animation the first frame is taken; docs/pictures.md has the whole rule. Raises PictureError
    where it is missing, broken or too large.
    """
    name = name_of(source)
    with _open(source, name) as picture:
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise too_large(f"{name} has {width:,} x {height:,} pixels")
        try:
            return _decode(picture, name)
        except Exception as error:  # Pillow's decoders raise many kinds on broken bytes
            raise PictureError(
                f"{name} cannot be decoded ({reason(error)}); it may be truncated or damaged, "
                "so save or download it again."
            ) from error


def pixels_of(source: PictureSource, formats: tuple[str, ...] = FORMATS) -> int:
    """How many pixels a picture has by its header, before anything of it is decoded.

    Raises PictureError where it is of no format among these, or has more than Pillow reads.
    """
    with _open(source, name_of(source), formats) as picture:
        return picture.width * picture.height


def picture_size(source: PictureSource) -> tuple[int, int]:
    """Height and width of the picture that `load_picture` decodes, mostly from its header alone.

    Raises PictureError where it is missing or its header is broken.
    """
    name = name_of(source)
    with _open(source, name) as picture:
        width, height = picture.size
        try:
            turned = picture.getexif().get(ExifTags.Base.Orientation, 1) in range(5, 9)
        except Exception as error:  # a PNG is decoded for what may follow its pixels
            raise PictureError(
                f"{name} cannot be decoded ({reason(error)}); it may be truncated or damaged, "
                "so save or download it again."
            ) from error
    return (width, height) if turned else (height, width)


def preprocess(picture: Image.Image, config: ImageConfig) -> npt.NDArray[np.float32]:
    """Turn an RGB picture into the tower's pixels [3, size, size], normalised.

    Equals transformers' CLIPImageProcessor ("square"), LlavaImageProcessor ("pad") and
    SiglipImageProcessor ("stretch").
    """
    shape = {"square": _crop, "pad": _pad, "stretch": stretch}[config.mode]
    return normalize(shape(picture, config), config)


def normalize(picture: Image.Image, config: ImageConfig) -> npt.NDArray[np.float32]:
    """Pixels [3, H, W] of a picture that has its size already."""
    pixels = np.asarray(picture, dtype=np.float32)  # [H, W, 3]
    mean = np.array(config.mean, dtype=np.float32)
    std = np.array(config.std, dtype=np.float32)
    return np.ascontiguousarray(((pixels / 255 - mean) / std).transpose(2, 0, 1))


def stretch(picture: Image.Image, config: ImageConfig) -> Image.Image:
    """Resize to a square, whatever shape the picture has."""
    return picture.resize((config.size, config.size), filter_of(config))


def filter_of(config: ImageConfig) -> Image.Resampling:
    """Pillow's filter that pictures are resized with."""
    return Image.Resampling[config.resample.upper()]


def _open(
    source: PictureSource, name: str, formats: tuple[str, ...] = FORMATS
) -> AbstractContextManager[Image.Image]:
    if isinstance(source, Image.Image):
        return nullcontext(source)  # the caller's own to close
    if isinstance(source, np.ndarray):
        return nullcontext(from_array(source))
    with explained(name), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS decides
        return Image.open(_file(source), formats=formats)


def _file(source: PictureSource) -> Path | IO[bytes]:
    """What Pillow opens; of a path it reads no more than it needs."""
    if isinstance(source, NamedFile):
        return source.content
    if isinstance(source, Path) or (isinstance(source, str) and not is_data_url(source)):
        return Path(source).expanduser()
    return io.BytesIO(read_bytes(source) or b"")


def _decode(picture: Image.Image, name: str) -> Image.Image:
    _scale_transparency(picture)
    picture.load()
    upright = ImageOps.exif_transpose(picture)
    if is_deep(upright):
        upright = to_8_bits(upright, declared_depth(picture), name)
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        white = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(white, upright)
    return upright.convert("RGB")


def _scale_transparency(picture: Image.Image) -> None:
    """Scale a PNG's transparent grey as Pillow scales its greys of 2 and 4 bits."""
    transparent = picture.info.get("transparency")
    if isinstance(picture, PngImageFile) and isinstance(transparent, int):
        stored = {tile[3] for tile in picture.tile}
        scale = 85 if "L;2" in stored else 17 if "L;4" in stored else 1
        picture.info["transparency"] = transparent * scale


def _crop(picture: Image.Image, config: ImageConfig) -> Image.Image:
    """Resize the shortest edge, then cut out the centre."""
    picture = _trim(picture)
    size, edge = config.size, config.shortest_edge or config.size
    width, height = picture.size
    shortest = min(width, height)
    width, height = edge * width // shortest, edge * height // shortest
    left, top = (width - size) // 2, (height - size) // 2
    resized = picture.resize((width, height), filter_of(config))
    return resized.crop((left, top, left + size, top + size))


def _trim(picture: Image.Image) -> Image.Image:
    """Cut the far ends off a strip: they are cropped later, but would first be resized."""
    width, height = picture.size
    longest = MAX_ASPECT * min(width, height)
    left, top = max(0, width - longest) // 2, max(0, height - longest) // 2
    return picture.crop((left, top, width - left, height - top)) if left or top else picture


def _pad(picture: Image.Image, config: ImageConfig) -> Image.Image:
    """Put the picture in the middle of a square of the mean colour, then resize and crop that."""
    if max(picture.size) > MAX_CANVAS_SIDE:
        ratio = MAX_CANVAS_SIDE / max(picture.size)
        width, height = (max(1, round(side * ratio)) for side in picture.size)
        picture = picture.resize((width, height), filter_of(config))
    width, height = picture.size
    side = max(width, height)
    red, green, blue = (int(channel * 255) for channel in config.mean)
    canvas = Image.new("RGB", (side, side), (red, green, blue))
    canvas.paste(picture, ((side - width) // 2, (side - height) // 2))
    return _crop(canvas, config)
