"""What preprocessor_config.json says of how a picture becomes pixels."""

import json
from pathlib import Path
from typing import Literal

from llava_edge.core.bundle_config import ImageConfig
from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.towers.vision_tower import VisionTower

BICUBIC = 3  # pillow's number


def read_preprocessor_config(folder: Path, tower: VisionTower) -> ImageConfig:
    """The preprocessing for a tower; its own usual one without a file.

    Raises CheckpointError for preprocessing that `llava_edge.core.picture` does not do.
    """
    section = _section(folder)
    mode = _mode(section, tower)
    for step in ("do_resize", "do_rescale", "do_normalize"):
        if not section.flag(step, True):
            raise _unsupported(section, f"{step} = false")
    if section.has("resample") and section.values["resample"] != BICUBIC:
        raise _unsupported(section, f"resample = {section.values['resample']}")
    if abs(section.number("rescale_factor", 1 / 255) * 255 - 1) > 1e-6:
        raise _unsupported(section, "a rescale_factor other than 1 / 255")
    size, shortest_edge = _sizes(section, tower, mode)
    return ImageConfig(
        size=size,
        mean=section.triple("image_mean", tower.usual.mean),
        std=section.triple("image_std", tower.usual.std),
        mode=mode,
        shortest_edge=None if shortest_edge == size else shortest_edge,
    )


def has_preprocessing(folder: Path) -> bool:
    """Whether the folder says itself how its pictures are prepared."""
    return bool(_section(folder).values)


def _section(folder: Path) -> Section:
    """Its own file, or the processor's since transformers 5."""
    if (folder / "preprocessor_config.json").exists():
        return Section.from_file(folder / "preprocessor_config.json")
    if (folder / "processor_config.json").exists():
        processor = Section.from_file(folder / "processor_config.json")
        if processor.has("image_processor"):
            return processor.section("image_processor")
    return Section({}, "the tower's usual preprocessing")


def _mode(section: Section, tower: VisionTower) -> Literal["square", "pad", "stretch"]:
    kind = section.text("image_processor_type", "")
    if kind.startswith("LlavaNext"):  # whose do_pad is about batches
        return "square"
    if section.flag("do_pad", False):
        return "pad"
    stretches = kind.startswith("Siglip") if kind else tower.usual.mode == "stretch"
    if section.flag("do_center_crop", not stretches):
        if _exact(section):
            raise _unsupported(
                section, "a size that changes a picture's shape before it is cropped"
            )
        return "square"
    if stretches or _exact(section):
        return "stretch"
    raise _unsupported(section, "do_center_crop = false with a size that keeps a picture's shape")


def _sizes(section: Section, tower: VisionTower, mode: str) -> tuple[int, int]:
    """The size that the tower is shown, and what the shortest edge is resized to before."""
    size, crop = _side(section, "size"), _side(section, "crop_size")
    if tower.usual.any_size:
        shown = crop or size or tower.image_size
        return shown, size or shown
    for key, side in (("size", size), ("crop_size", crop)):
        larger = key == "size" and mode == "square" and crop is not None
        if side is not None and side != tower.image_size and not larger:
            raise _misfit(section, key, tower)
    return tower.image_size, size or tower.image_size


def _exact(section: Section) -> bool:
    """Whether a picture is resized to height and width, whatever its own shape."""
    size = section.values.get("size")
    return isinstance(size, dict) and "height" in size


def _side(section: Section, key: str) -> int | None:
    value = section.values.get(key)
    if value is None:
        return None
    if isinstance(value, int):
        return section.integer(key)
    sides = section.section(key)
    found = {sides.integer(side) for side in sides.values if sides.has(side)}
    if len(found) != 1:
        raise _unsupported(section, f"{json.dumps(value)} as {key}, which is no square")
    return found.pop()


def _misfit(section: Section, key: str, tower: VisionTower) -> CheckpointError:
    return CheckpointError(
        f"{section.where} gives {json.dumps(section.values[key])} as {key}, but the tower takes "
        f"pictures of {tower.image_size} x {tower.image_size} pixels; correct one of them."
    )


def _unsupported(section: Section, what: str) -> CheckpointError:
    return CheckpointError(
        f"{section.where} asks for {what}, which export does not support; resize (bicubic), crop "
        "or pad at will, rescale by 1 / 255 and normalize."
    )
