"""What preprocessor_config.json says of how a picture becomes pixels."""

import json
from pathlib import Path

from llava_edge.config import ImageConfig
from llava_edge.errors import CheckpointError
from llava_edge.export.checkpoint_section import Section

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
BICUBIC = 3  # pillow's number


def read_image_config(folder: Path, size: int) -> ImageConfig:
    """The preprocessing for a tower that takes `size` x `size` pixels; CLIP's own without a file.

    Raises CheckpointError for preprocessing that `llava_edge.image` does not do.
    """
    section = _section(folder)
    pad = section.flag("do_pad", False)
    crop = () if pad else ("do_center_crop",)  # a padded picture is square already
    for step in ("do_resize", "do_rescale", "do_normalize", *crop):
        if not section.flag(step, True):
            raise _unsupported(section, f"{step} = false")
    if section.has("resample") and section.values["resample"] != BICUBIC:
        raise _unsupported(section, f"resample = {section.values['resample']}")
    if abs(section.number("rescale_factor", 1 / 255) * 255 - 1) > 1e-6:
        raise _unsupported(section, "a rescale_factor other than 1 / 255")
    if _exact(section) and not pad:
        raise _unsupported(section, "a size that changes a picture's shape without do_pad")
    for key in ("size", "crop_size"):
        sides = _sides(section, key)
        if sides and sides != {size}:
            raise CheckpointError(
                f"{section.where} gives {json.dumps(section.values[key])} as {key}, but the tower "
                f"takes pictures of {size} x {size} pixels; correct one of them."
            )
    return ImageConfig(
        size=size,
        mean=section.triple("image_mean", CLIP_MEAN),
        std=section.triple("image_std", CLIP_STD),
        mode="pad" if pad else "square",
    )


def _section(folder: Path) -> Section:
    """Its own file, or the processor's since transformers 5."""
    if (folder / "preprocessor_config.json").exists():
        return Section.from_file(folder / "preprocessor_config.json")
    if (folder / "processor_config.json").exists():
        processor = Section.from_file(folder / "processor_config.json")
        if processor.has("image_processor"):
            return processor.section("image_processor")
    return Section({}, "CLIP's own preprocessing")


def _exact(section: Section) -> bool:
    """Whether a picture is resized to height and width, whatever its own shape."""
    size = section.values.get("size")
    return isinstance(size, dict) and "height" in size


def _sides(section: Section, key: str) -> set[int]:
    value = section.values.get(key)
    if value is None:
        return set()
    if isinstance(value, int):
        return {section.integer(key)}
    sides = section.section(key)
    return {sides.integer(side) for side in sides.values if sides.has(side)}


def _unsupported(section: Section, what: str) -> CheckpointError:
    return CheckpointError(
        f"{section.where} asks for {what}, which export does not support; use CLIP's "
        "preprocessing: resize (bicubic), centre crop or pad, rescale by 1 / 255, normalize."
    )
