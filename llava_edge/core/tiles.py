"""LLaVA-NeXT's "anyres": a picture is shown to the tower whole and in tiles, without its padding.

As transformers' LlavaNextImageProcessor and LlavaNextForConditionalGeneration do.
"""

import math

import numpy as np
from PIL import Image

from llava_edge.core.array_types import Floats
from llava_edge.core.bundle_config import ImageConfig, TilesConfig
from llava_edge.core.picture import filter_of, normalize, stretch

Size = tuple[int, int]  # (height, width)


def cut(picture: Image.Image, image: ImageConfig, tiles: TilesConfig) -> Floats:
    """Pixels [1 + tiles, 3, size, size]: the whole picture, then its tiles row by row."""
    width, height = picture.size
    canvas = _fit(picture, best_size((height, width), tiles), image)
    views = [stretch(picture, image)]
    for top in range(0, canvas.height, image.size):
        for left in range(0, canvas.width, image.size):
            views.append(canvas.crop((left, top, left + image.size, top + image.size)))
    return np.stack([normalize(view, image) for view in views])


def assemble(
    embeds: Floats, picture: Size, image: ImageConfig, tiles: TilesConfig, newline: Floats
) -> Floats:
    """Image embeddings [1 + tiles, T, D] of a picture (height, width) -> rows [T', D].

    The whole picture's rows come first; then the tiles side by side, line by line and without what
    was padded, a `newline` [D] after each line.
    """
    height, width = (side // image.size for side in best_size(picture, tiles))
    whole, parts = embeds[0], embeds[1:]  # [T, D], [tiles, T, D]
    side = math.isqrt(parts.shape[1])
    grid = parts.reshape(height, width, side, side, -1).swapaxes(1, 2)
    lines = _unpad(grid.reshape(height * side, width * side, -1), picture)  # [lines, columns, D]
    ends = np.broadcast_to(newline, (len(lines), 1, len(newline)))
    ended = np.concatenate([lines, ends], axis=1).reshape(-1, len(newline))
    return np.concatenate([whole, ended])


def tile_count(picture: Size, image: ImageConfig, tiles: TilesConfig) -> int:
    """How many tiles a picture (height, width) is cut into, besides the whole."""
    height, width = best_size(picture, tiles)
    return (height // image.size) * (width // image.size)


def row_count(picture: Size, image_tokens: int, image: ImageConfig, tiles: TilesConfig) -> int:
    """The rows T' of a picture (height, width), at `image_tokens` rows for each view."""
    views = np.zeros((1 + tile_count(picture, image, tiles), image_tokens, 1), np.float32)
    return len(assemble(views, picture, image, tiles, np.zeros(1, np.float32)))


def most_rows(image_tokens: int, image: ImageConfig, tiles: TilesConfig) -> int:
    """The rows T' of the largest picture, at `image_tokens` rows for each view."""
    side = math.isqrt(image_tokens)
    grids = [(height // image.size, width // image.size) for height, width in tiles.grid_pinpoints]
    return image_tokens + max(height * side * (width * side + 1) for height, width in grids)


def best_size(picture: Size, tiles: TilesConfig) -> Size:
    """The size at which most of the picture's pixels are kept, and of those the least is wasted."""
    height, width = picture

    def merit(size: Size) -> tuple[int, int]:
        scale = min(size[1] / width, size[0] / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        return kept, kept - size[0] * size[1]

    return max(tiles.grid_pinpoints, key=merit)


def _fit(picture: Image.Image, size: Size, image: ImageConfig) -> Image.Image:
    """Resize to as large as fits, in the middle of a black canvas."""
    height, width = size
    across, down = width / picture.width, height / picture.height
    if across < down:
        width, height = width, min(math.ceil(picture.height * across), height)
    else:
        width, height = min(math.ceil(picture.width * down), width), height
    canvas = Image.new("RGB", (size[1], size[0]))
    resized = picture.resize((width, height), filter_of(image))
    canvas.paste(resized, ((size[1] - width) // 2, (size[0] - height) // 2))
    return canvas


def _unpad(lines: Floats, picture: Size) -> Floats:
    """Leave out the lines or columns that show only what was padded."""
    height, width = picture
    rows, columns = lines.shape[:2]
    if width / height > columns / rows:
        padding = (rows - int(round(height * (columns / width), 7))) // 2
        return lines[padding : rows - padding]
    padding = (columns - int(round(width * (rows / height), 7))) // 2
    return lines[:, padding : columns - padding]
