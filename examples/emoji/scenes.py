"""Seeded scenes: a background and one to four objects whose names, boxes and colours are known."""

import hashlib
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from colours import main_colour, sprite_colour
from names import FLUENT_STYLES, TRAINING_STYLES, load_names
from numpy.random import Generator
from numpy.typing import NDArray
from paint import paint_background, vary_picture, vary_sprite
from PIL import Image
from sprites import SpriteSheet

SIDE = 288  # pixels of a picture unless the rules say otherwise
SIZES = {"small": (56, 72), "medium": (80, 104), "large": (112, 152)}  # longest side, of SIDE
GAP = 3  # pixels between boxes
HELD_OUT_SHARE = 0.15  # of name pairs

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class SceneObject:
    """One object; the box is (left, top, right, bottom) in 0..1 of the picture."""

    name: str
    style: str
    size: str
    colour: str | None
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Scene:
    """What is in a picture; objects stand in reading order, from left to right."""

    background: str
    objects: tuple[SceneObject, ...]


@dataclass(frozen=True)
class SceneRules:
    """Which styles and name pairs a scene may use, and whether its picture is varied."""

    styles: tuple[str, ...]
    allow_held_out: bool
    vary: bool
    side: int = SIDE


TRAINING = SceneRules(TRAINING_STYLES, allow_held_out=False, vary=True)
SEEN_STYLES = SceneRules(TRAINING_STYLES, allow_held_out=True, vary=False)
HELD_OUT_STYLE = SceneRules(FLUENT_STYLES, allow_held_out=True, vary=False)


def is_held_out(first: str, second: str) -> bool:
    """Whether two names never meet in a training scene; decided by a hash, so by no list."""
    key = "|".join(sorted((first, second)))
    digest = hashlib.sha256(key.encode()).digest()
    return first != second and int.from_bytes(digest[:4], "big") < HELD_OUT_SHARE * 2**32


def held_out_pairs() -> list[tuple[str, str]]:
    """All held-out pairs of names, for the manifest."""
    return [pair for pair in combinations(sorted(load_names()), 2) if is_held_out(*pair)]


def draw_scene(rng: Generator, sheet: SpriteSheet, rules: SceneRules) -> tuple[Scene, Image.Image]:
    """Draw a scene; returns its description and its picture (RGB, side x side)."""
    names = choose_names(rng, sheet.names_in(rules.styles), rules)
    styles = choose_styles(rng, sheet, rules, names)
    sprites = [sheet.sprite(style, name) for style, name in zip(styles, names, strict=True)]
    background = paint_background(rng, rules.side, {sprite_colour(s) for s in sprites})
    picture = Image.fromarray(background.pixels)
    placed: list[tuple[str, str, str, Box, NDArray[np.bool_]]] = []
    sizes = sorted(rng.choice(list(SIZES), len(names)), key=lambda size: -SIZES[size][0])
    for name, style, sprite, size in zip(names, styles, sprites, sizes, strict=True):
        posed, size, corner = pose_and_place(rng, sprite, str(size), [p[3] for p in placed], rules)
        if corner is None:
            continue  # full: the scene has one object fewer
        picture.paste(posed, corner, posed)
        box = (*corner, corner[0] + posed.width, corner[1] + posed.height)
        placed.append((name, style, size, box, np.asarray(posed.getchannel("A")) > 200))
    if rules.vary:
        picture = vary_picture(rng, picture)
    pixels = np.asarray(picture)
    objects = [
        SceneObject(name, style, size, object_colour(pixels, box, mask), unit_box(box, rules.side))
        for name, style, size, box, mask in placed
    ]
    objects.sort(key=lambda one: one.box[0] + one.box[2])
    return Scene(background.words, tuple(objects)), picture


def choose_names(rng: Generator, names: list[str], rules: SceneRules) -> list[str]:
    """One to four of the names; in a quarter of the scenes one of them comes more than once."""
    total = int(rng.choice([1, 2, 3, 4], p=[0.2, 0.3, 0.3, 0.2]))
    chosen: list[str] = []
    for name in (str(name) for name in rng.permutation(names)):
        meets_held_out = any(is_held_out(name, other) for other in chosen)
        if rules.allow_held_out or not meets_held_out:
            chosen.append(name)
        if len(chosen) == total:
            break
    if total > 1 and rng.random() < 0.25 and load_names()[chosen[0]].noun == "count":
        times = int(rng.integers(2, total + 1))
        chosen[:times] = [chosen[0]] * times
    return chosen


def choose_styles(
    rng: Generator, sheet: SpriteSheet, rules: SceneRules, names: list[str]
) -> list[str]:
    """One style for all objects where one draws them all, else (and sometimes) one for each."""
    drawn_in = {name: sheet.styles_of(name) & set(rules.styles) for name in names}
    common = sorted(set.intersection(*drawn_in.values()))
    if common and rng.random() < 0.85:
        return [str(rng.choice(common))] * len(names)
    by_name = {name: str(rng.choice(sorted(styles))) for name, styles in drawn_in.items()}
    return [by_name[name] for name in names]


def pose_and_place(
    rng: Generator, sprite: Image.Image, size: str, taken: list[Box], rules: SceneRules
) -> tuple[Image.Image, str, tuple[int, int] | None]:
    """Pose a sprite and find it a free corner, small where its own size does not fit."""
    for attempt in (size, "small"):
        posed = pose(rng, sprite, attempt, rules)
        corner = free_corner(rng, posed.size, taken, rules.side)
        if corner is not None:
            return posed, attempt, corner
    return sprite, size, None


def pose(rng: Generator, sprite: Image.Image, size: str, rules: SceneRules) -> Image.Image:
    """Flip, vary, rotate and scale a sprite; returns it cropped to its opaque part."""
    if rng.random() < 0.5:
        sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rules.vary:
        sprite = vary_sprite(rng, sprite)
    sprite = sprite.rotate(rng.uniform(-15, 15), Image.Resampling.BICUBIC, expand=True)
    sprite = crop_to_opaque(sprite)
    low, high = SIZES[size]
    scale = rng.uniform(low, high) * rules.side / SIDE / max(sprite.size)
    width, height = (max(1, round(length * scale)) for length in sprite.size)
    return crop_to_opaque(sprite.resize((width, height), Image.Resampling.LANCZOS))


def crop_to_opaque(sprite: Image.Image) -> Image.Image:
    """Cut off the border that is all but transparent."""
    return sprite.crop(sprite.getchannel("A").point(lambda alpha: 255 * (alpha > 40)).getbbox())


def free_corner(
    rng: Generator, size: tuple[int, int], taken: list[Box], side: int
) -> tuple[int, int] | None:
    """A random place where a box of this size touches no other, or None after 60 tries."""
    width, height = size
    for _ in range(60):
        left = int(rng.integers(0, side - width + 1))
        top = int(rng.integers(0, side - height + 1))
        if not any(
            left < right + GAP and other_left < left + width + GAP
            and top < bottom + GAP and other_top < top + height + GAP
            for other_left, other_top, right, bottom in taken
        ):  # fmt: skip
            return left, top
    return None


def object_colour(pixels: NDArray[np.uint8], box: Box, mask: NDArray[np.bool_]) -> str | None:
    """The main colour of an object as it finally looks in the picture."""
    left, top, right, bottom = box
    return main_colour(pixels[top:bottom, left:right][mask])


def unit_box(box: Box, side: int) -> tuple[float, float, float, float]:
    """Pixels to 0..1, three decimals as in the paper."""
    left, top, right, bottom = (round(edge / side, 3) for edge in box)
    return left, top, right, bottom
