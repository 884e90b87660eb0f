"""Grey values of more than 8 bits become 8 bits, by the depth that their file declares."""

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

LOG = logging.getLogger("llava_edge")
ROWS = 256  # converted at a time, so that floats of a whole picture are never in memory
USUAL_WHITES = (255, 65535)  # where a file does not say which value is white; else the largest
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF 6.0
_WHITE_IS_ZERO, _UNSIGNED = 0, 1


@dataclass(frozen=True)
class GreyDepth:
    """What a file declares of its grey values."""

    white: int | None  # the value that is white; None: it does not say
    inverted: bool = False  # 0 is white
    unsigned: bool = False  # of 32 bits, which Pillow reads as signed ones


def is_deep(picture: Image.Image) -> bool:
    """Whether it has one channel of more than 8 bits."""
    return picture.mode in ("I", "F") or picture.mode.startswith("I;16")


def declared_depth(picture: Image.Image) -> GreyDepth:
    """What a deep picture's file declares; to be asked before Pillow copies the picture."""
    tags = getattr(picture, "tag_v2", {})
    bits = int(tags.get(_BITS_PER_SAMPLE, (32 if picture.mode in ("I", "F") else 16,))[0])
    inverted = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    unsigned = tags.get(_SAMPLE_FORMAT, (0,))[0] == _UNSIGNED
    if picture.mode.startswith("I;16"):
        return GreyDepth(2**bits - 1, inverted)
    if picture.mode == "I" and bits == 16:  # with a sign
        return GreyDepth(2**15 - 1, inverted)
    if picture.mode == "I" and picture.format in ("PPM", "PNG"):  # whose values Pillow scaled
        return GreyDepth(65535)
    return GreyDepth(None, inverted, unsigned and picture.mode == "I")


def to_8_bits(picture: Image.Image, depth: GreyDepth, name: str) -> Image.Image:
    """Scale 0..white to 0..255; what lies outside is black or white, and NaN is black.

    A grey that the file calls transparent becomes an alpha channel. The logger `llava_edge` is
    told where 16 bits are declared and 12 are used.
    """
    values = np.asarray(picture)
    if depth.unsigned:
        values = values.view(np.uint32)
    peak = float(np.max(values, initial=0, where=np.isfinite(values)))
    white = depth.white or _white(peak, picture.mode)
    if picture.mode.startswith("I;16") and depth.white == 65535 and 0 < peak < 4096:
        LOG.warning(
            "%s has 16 bits, but its largest value is %d, so it is nearly black; if its values "
            "have 12 bits, multiply them by 16.",
            name,
            peak,
        )
    grey = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), ROWS):
        grey[start : start + ROWS] = _scale(values[start : start + ROWS], white, depth.inverted)
    transparent = picture.info.get("transparency")
    if transparent is None:
        return Image.fromarray(grey)
    opaque = np.where(values == transparent, np.uint8(0), np.uint8(255))
    return Image.merge("LA", (Image.fromarray(grey), Image.fromarray(opaque)))


def _white(peak: float, mode: str) -> float:
    whites = (1, *USUAL_WHITES) if mode == "F" else USUAL_WHITES
    return next((white for white in whites if peak <= white), peak)


def _scale(values: npt.NDArray[np.generic], white: float, inverted: bool) -> npt.NDArray[np.uint8]:
    shares = np.nan_to_num(values.astype(np.float64) / white, nan=0.0).clip(0, 1)
    grey: npt.NDArray[np.uint8] = np.rint(shares * 255).astype(np.uint8)
    return np.invert(grey) if inverted else grey
