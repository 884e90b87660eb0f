"""The committed sprites: 12 objects in 2 styles, Noto Emoji (Apache-2.0) and Fluent Emoji (MIT)."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from scenes import TRAINING, Scene, SceneRules, draw_scene
from sprites import SpriteSheet, load_sheet


@cache
def few_sprites() -> SpriteSheet:
    """The committed sprite sheet."""
    return load_sheet(Path(__file__).parent / "sprites.npz")


def some_scene(seed: int, rules: SceneRules = TRAINING) -> tuple[Scene, Image.Image]:
    """The scene of a seed."""
    return draw_scene(np.random.default_rng(seed), few_sprites(), rules)
