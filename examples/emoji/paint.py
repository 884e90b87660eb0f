"""Paint backgrounds, and change sprites and pictures so that a tower sees more than one drawing."""

from dataclasses import dataclass

import numpy as np
from names import with_article
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

PLAIN = {
    "white": (246, 246, 244),
    "grey": (160, 162, 165),
    "red": (214, 62, 56),
    "orange": (245, 152, 66),
    "yellow": (248, 220, 96),
    "green": (104, 178, 98),
    "blue": (98, 156, 222),
    "purple": (148, 104, 190),
    "pink": (246, 170, 194),
    "brown": (140, 98, 66),
}
TEXTURES = {"grass": "green", "gravel": "grey", "a brick wall": "brown"}  # and their colours


@dataclass(frozen=True)
class Background:
    """What lies behind the objects; `words` finish the phrase `a dog on …`."""

    words: str
    pixels: NDArray[np.uint8]  # [side, side, 3]


def paint_background(rng: Generator, side: int, avoid: set[str | None]) -> Background:
    """A plain colour, a gradient or a texture, in none of the colours to avoid if possible."""
    colours = [colour for colour in PLAIN if colour not in avoid]
    textures = [name for name, colour in TEXTURES.items() if colour not in avoid]
    kind = rng.choice(["plain", "gradient", "texture"], p=[0.5, 0.25, 0.25])
    if kind == "texture" and textures:
        name = str(rng.choice(textures))
        return Background(name, _PAINTERS[name](rng, side))
    if kind == "gradient" and len(colours) > 1:
        first, second = sorted(str(colour) for colour in rng.choice(colours, 2, replace=False))
        words = with_article(f"{first} and {second} background")
        return Background(words, gradient(rng, side, first, second))
    colour = str(rng.choice(colours or list(PLAIN)))
    pixels = np.broadcast_to(shade(rng, colour), (side, side, 3))
    return Background(with_article(f"{colour} background"), to_bytes(pixels))


def shade(rng: Generator, colour: str) -> NDArray[np.float64]:
    """A colour near the named one."""
    return np.array(PLAIN[colour]) + rng.uniform(-10, 10, 3)


def gradient(rng: Generator, side: int, first: str, second: str) -> NDArray[np.uint8]:
    """Fade from one colour to another in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:side, 0:side] / (side - 1) - 0.5
    ramp = np.clip(x * np.cos(angle) + y * np.sin(angle) + 0.5, 0, 1)[:, :, None]
    return to_bytes(shade(rng, first) * (1 - ramp) + shade(rng, second) * ramp)


def grass(rng: Generator, side: int) -> NDArray[np.uint8]:
    """Green noise smeared upwards into blades."""
    noise = rng.normal(size=(side + 16, side))
    blades = np.cumsum(noise, axis=0)
    blades = (blades[16:] - blades[:-16])[:, :, None] / 4
    return to_bytes(np.array([86, 150, 62]) + blades * np.array([20, 24, 14]))


def gravel(rng: Generator, side: int) -> NDArray[np.uint8]:
    """Grey stones: blurred noise, stretched."""
    noise = Image.fromarray(to_bytes(rng.uniform(0, 255, (side, side))))
    stones = np.asarray(noise.filter(ImageFilter.GaussianBlur(2.6)), dtype=np.float64) - 127
    grain = rng.normal(0, 6, (side, side))
    return to_bytes(np.repeat((148 + stones * 1.5 + grain)[:, :, None], 3, axis=2))


def brick(rng: Generator, side: int) -> NDArray[np.uint8]:
    """Rows of red-brown bricks in pale mortar, each brick a little different."""
    height = int(rng.integers(side // 14, side // 9))
    width = int(height * rng.uniform(1.9, 2.5))
    y, x = np.mgrid[0:side, 0:side]
    row = y // height
    shifted = x + (row % 2) * (width // 2)
    column = shifted // width
    tone = rng.uniform(-18, 18, (int(row.max()) + 1, int(column.max()) + 1))[row, column]
    wall = np.array([150, 84, 66]) + tone[:, :, None] + rng.normal(0, 5, (side, side, 1))
    mortar = (y % height < 2) | (shifted % width < 2)
    wall[mortar] = (196, 188, 178)
    return to_bytes(wall)


_PAINTERS = {"grass": grass, "gravel": gravel, "a brick wall": brick}


def vary_sprite(rng: Generator, sprite: Image.Image) -> Image.Image:
    """Training only: tilt the drawing's plane, and light it as if it were solid."""
    if rng.random() < 0.5:
        sprite = tilt(rng, sprite)
    if rng.random() < 0.5:
        sprite = light(rng, sprite)
    return sprite


def tilt(rng: Generator, sprite: Image.Image) -> Image.Image:
    """Move the four corners by up to 8% of the side: shear and a slight perspective."""
    width, height = sprite.size
    pad = max(width, height) // 10
    canvas = Image.new("RGBA", (width + 2 * pad, height + 2 * pad))
    canvas.paste(sprite, (pad, pad))
    w, h = canvas.size
    corners = np.array([(0, 0), (0, h), (w, h), (w, 0)])
    moved = corners + rng.uniform(-0.08, 0.08, (4, 2)) * (w, h)
    quad = tuple(float(value) for value in moved.ravel())
    return canvas.transform(canvas.size, Image.Transform.QUAD, quad, Image.Resampling.BICUBIC)


def light(rng: Generator, sprite: Image.Image) -> Image.Image:
    """Brighten the side towards a lamp and darken the other, most at the rim."""
    rgba = np.asarray(sprite, dtype=np.float64)
    height, width = rgba.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height, 0:width]
    ramp = (x / width - 0.5) * np.cos(angle) + (y / height - 0.5) * np.sin(angle)
    blurred = sprite.getchannel("A").filter(ImageFilter.GaussianBlur(rng.uniform(4, 10)))
    rise_y, rise_x = np.gradient(np.asarray(blurred, dtype=np.float64))
    rim = -(rise_x * np.cos(angle) + rise_y * np.sin(angle)) / 12
    gain = 1 + rng.uniform(0.1, 0.45) * ramp
    lit = rgba[:, :, :3] * gain[:, :, None] + (rng.uniform(8, 45) * np.clip(rim, -1, 1))[:, :, None]
    return Image.fromarray(np.dstack([to_bytes(lit), rgba[:, :, 3].astype(np.uint8)]))


def vary_picture(rng: Generator, picture: Image.Image) -> Image.Image:
    """Training only: light, contrast, saturation, a slight hue turn, blur and noise."""
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        if rng.random() < 0.5:
            picture = enhance(picture).enhance(rng.uniform(0.8, 1.2))
    if rng.random() < 0.3:
        hue, saturation, value = picture.convert("HSV").split()
        turned = np.asarray(hue) + np.uint8(rng.integers(-5, 6) % 256)  # 5 of 256 is 7 degrees
        picture = Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")
    if rng.random() < 0.25:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
    if rng.random() < 0.25:
        noise = rng.normal(0, rng.uniform(1, 7), (*picture.size[::-1], 3))
        picture = Image.fromarray(to_bytes(np.asarray(picture) + noise))
    return picture


def to_bytes(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Clip to 0..255."""
    return np.clip(values, 0, 255).astype(np.uint8)
