"""How pictures become pixels for a vision tower: read from its folder, and written for others."""

import json
from pathlib import Path
from typing import Any, Literal

from llava_edge.core.bundle_config import ImageConfig, TilesConfig
from llava_edge.train.models.towers import CLIP, KINDS, TowerKind

BICUBIC = 3  # pillow's number


def read_image_config(
    folder: Path, family: str, size: int, mode: Literal["square", "pad"] | None = None
) -> ImageConfig:
    """What the tower's folder says, or else what its family does; `mode` overrides both.

    `family` and `size` are the model_type and image_size of the tower's configuration; families
    that are not known are taken to do as CLIP's.
    """
    values, kind = _values(folder), KINDS.get(family, CLIP)
    own = _mode(values, kind)
    size_given, crop = _side(values.get("size")), _side(values.get("crop_size"))
    if kind.any_size:
        size = crop or size_given or size
    shortest_edge = size_given if (mode or own) == own == "square" else None
    return ImageConfig(
        size=size,
        mean=tuple(values.get("image_mean", kind.mean)),
        std=tuple(values.get("image_std", kind.std)),
        mode=mode or own,
        shortest_edge=None if shortest_edge == size else shortest_edge,
    )


def image_processor(image: ImageConfig, tiles: TilesConfig | None = None) -> dict[str, object]:
    """The `preprocessor_config.json` by which transformers and export prepare pictures alike."""
    sides = {"height": image.size, "width": image.size}
    normal = {"image_mean": list(image.mean), "image_std": list(image.std), "resample": BICUBIC}
    if tiles is not None:
        return {
            "image_processor_type": "LlavaNextImageProcessor",
            "size": {"shortest_edge": image.size},
            "crop_size": sides,
            "do_pad": True,  # a batch, to its most tiles
            "image_grid_pinpoints": [list(pair) for pair in tiles.grid_pinpoints],
            **normal,
        }
    if image.mode == "stretch":
        return {"image_processor_type": "SiglipImageProcessor", "size": sides, **normal}
    return {
        "image_processor_type": "LlavaImageProcessor",
        "size": {"shortest_edge": image.shortest_edge or image.size},
        "crop_size": sides,
        "do_pad": image.mode == "pad",
        **normal,
    }


def _values(folder: Path) -> dict[str, Any]:
    own, processor = folder / "preprocessor_config.json", folder / "processor_config.json"
    if own.exists():
        values: dict[str, Any] = json.loads(own.read_text(encoding="utf-8"))
        return values
    if processor.exists():  # where transformers 5 puts it
        values = json.loads(processor.read_text(encoding="utf-8")).get("image_processor", {})
        return values
    return {}


def _mode(values: dict[str, Any], kind: TowerKind) -> Literal["square", "pad", "stretch"]:
    processor = values.get("image_processor_type")
    if values.get("do_pad"):
        return "pad"
    stretches = processor.startswith("Siglip") if processor else kind.stretches
    return "square" if values.get("do_center_crop", not stretches) else "stretch"


def _side(value: Any) -> int | None:
    """The side of a size that is a number, a shortest edge, or a height and a width."""
    if isinstance(value, dict):
        value = next(iter(value.values()), None)
    return value if isinstance(value, int) else None
