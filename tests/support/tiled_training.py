"""A tiny recipe whose pictures are cut into tiles as LLaVA-NeXT's, and pictures of all shapes."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from tiny_training import write_recipe

SHAPES = ((40, 90), (90, 40), (50, 50), (16, 20), (37, 71), (120, 31))  # (height, width)
SIZE = 33  # of the tiny tower
PINPOINTS = [[SIZE, 2 * SIZE], [2 * SIZE, SIZE], [2 * SIZE, 2 * SIZE], [SIZE, 3 * SIZE]]


def write_tiled_recipe(folder: Path, *, changes: str = "", **kinds: bool) -> Path:
    """`write_recipe`'s, with tiles and pictures of SHAPES; `changes` are lines for stage 2."""
    recipe = write_recipe(folder, **kinds)
    write_shapes(folder / "pictures")
    records = json.loads((folder / "records.json").read_text())
    two = {
        **records[0],
        "id": "two",
        "image": ["0.png", "3.png"],
        "conversations": [
            {"from": "human", "value": "<image>\n<image>\nWhich is larger?"},
            {"from": "gpt", "value": "The first one."},
        ],
    }
    two.pop("objects")
    (folder / "records.json").write_text(json.dumps([*records, two]))
    text = recipe.read_text()
    text = f"image_grid_pinpoints = {PINPOINTS}\n" + text
    recipe.write_text(text.replace("[stage2]\n", f"[stage2]\n{changes}\n"))
    return recipe


def write_shapes(folder: Path) -> None:
    """Write pictures of SHAPES over those of `write_records`."""
    random = np.random.default_rng(1)
    for index, (height, width) in enumerate(SHAPES):
        pixels = random.integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
