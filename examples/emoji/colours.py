"""Colour words measured from pixels: which of eleven words most of an object's pixels deserve."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLOURS = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "grey", "white",
)  # fmt: skip
_HUE_EDGES = (14, 40, 68, 165, 258, 292, 340)  # degrees where one hue word ends
_HUE_WORDS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "red")
MAIN_SHARE = 0.5  # of the opaque pixels; below it an object has no single colour


def colour_indices(rgb: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Index into COLOURS for each pixel of [N, 3], -1 for beige, which has no word here."""
    hsv = np.asarray(Image.fromarray(rgb[None]).convert("HSV"))[0].astype(np.float64)
    hue, saturation, value = hsv[:, 0] * 360 / 255, hsv[:, 1] / 255, hsv[:, 2] / 255
    by_hue = np.array([COLOURS.index(word) for word in _HUE_WORDS])
    index: NDArray[np.int64] = by_hue[np.searchsorted(_HUE_EDGES, hue, side="right")]
    warm = (hue < 45) | (hue >= 340)
    pale = warm & (saturation < 0.58) & (value > 0.7)
    index[pale & ((hue < 14) | (hue >= 340))] = COLOURS.index("pink")
    index[pale & (hue >= 14) & (hue < 45)] = -1
    index[warm & (hue >= 8) & (hue < 45) & (value <= 0.68)] = COLOURS.index("brown")
    grey = (saturation < 0.14) | ((saturation < 0.3) & (value < 0.45))
    index[grey] = COLOURS.index("grey")
    index[grey & (value > 0.86)] = COLOURS.index("white")
    index[value < 0.24] = COLOURS.index("black")
    return index


def main_colour(rgb: NDArray[np.uint8]) -> str | None:
    """The colour word of at least MAIN_SHARE of the pixels [N, 3], else None."""
    if len(rgb) == 0:
        return None
    counts = np.bincount(colour_indices(rgb) + 1, minlength=len(COLOURS) + 1)[1:]
    best = int(counts.argmax())
    return COLOURS[best] if counts[best] >= MAIN_SHARE * len(rgb) else None


def sprite_colour(sprite: Image.Image) -> str | None:
    """The main colour of a sprite's opaque pixels."""
    rgba = np.asarray(sprite)
    return main_colour(rgba[rgba[:, :, 3] > 200][:, :3])
