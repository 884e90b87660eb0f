"""What a model's files say of how a picture becomes pixels, for training and export alike."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llava_edge.core.bundle_config import ImageConfig
from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)
Mode = Literal["square", "pad", "stretch"]
Resample = Literal["bicubic", "bilinear", "lanczos"]

RESAMPLE: dict[int, Resample] = {1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
# What is done, or changes no pixel; any other do_... that is true is refused.
DONE = (
    "do_resize",
    "do_center_crop",
    "do_rescale",
    "do_normalize",
    "do_convert_rgb",
    "do_pad",
)
CHANGES_PIXELS = (  # of transformers' other processors
    "crop_pct",
    "max_image_size",
    "max_pixels",
    "min_pixels",
    "offset",
    "pad_size",
    "rescale_offset",
    "size_divisor",
    "use_square_size",
)


@dataclass(frozen=True)
class UsualPreprocessing:
    """What an image processor does where no file says otherwise."""

    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    mode: Literal["square", "stretch"] = "square"
    any_size: bool = False  # its tower takes pictures of any size, not just of its image_size
    resample: Resample = "bicubic"


PROCESSORS = {  # transformers' classes, without the Fast or Pil that may end their names
    "BitImageProcessor": UsualPreprocessing(),
    "CLIPImageProcessor": UsualPreprocessing(),
    "LlavaImageProcessor": UsualPreprocessing(),
    "LlavaNextImageProcessor": UsualPreprocessing(),
    "LlavaOnevisionImageProcessor": UsualPreprocessing(mode="stretch"),
    "SiglipImageProcessor": UsualPreprocessing(HALF, HALF, "stretch"),
    "ViTImageProcessor": UsualPreprocessing(HALF, HALF, "stretch", resample="bilinear"),
}


def read_preprocessor_config(
    folder: Path, tower: UsualPreprocessing, image_size: int, mode: Mode | None = None
) -> ImageConfig:
    """The preprocessing for a tower of this image_size; `tower` where no file is; `mode` wins.

    The files are preprocessor_config.json and, before it, an image_processor in
    processor_config.json, as transformers 5 reads them. Raises CheckpointError where they ask for
    what `llava_edge.core.picture` does not do, or do not fit the tower.
    """
    section = _section(folder)
    kind = _kind(section)
    usual = PROCESSORS.get(kind, tower)
    _refuse_others(section)
    own = _mode(section, kind, usual)
    size, shortest_edge = _sizes(section, tower.any_size, image_size, own)
    if mode not in (None, own):
        shortest_edge = size
    return ImageConfig(
        size=size,
        mean=section.triple("image_mean", usual.mean),
        std=section.triple("image_std", usual.std),
        mode=mode or own,
        shortest_edge=None if shortest_edge == size else shortest_edge,
        resample=_resample(section, usual),
    )


def has_preprocessing(folder: Path) -> bool:
    """Whether the folder says itself how its pictures are prepared."""
    return bool(_section(folder).values)


def _section(folder: Path) -> Section:
    if (folder / "processor_config.json").exists():
        processor = Section.from_file(folder / "processor_config.json")
        if processor.has("image_processor"):
            return processor.section("image_processor")
    if (folder / "preprocessor_config.json").exists():
        return Section.from_file(folder / "preprocessor_config.json")
    return Section({}, "the tower's usual preprocessing")


def _kind(section: Section) -> str:
    """The processor's class, as transformers 5 calls it; "" where none is named."""
    old = section.text("feature_extractor_type", "").replace("FeatureExtractor", "ImageProcessor")
    kind = section.text("image_processor_type", old)
    kind = kind.removesuffix("Fast").removesuffix("Pil")
    if kind and kind not in PROCESSORS:
        raise _unsupported(section, f"image_processor_type = {kind}")
    return kind


def _refuse_others(section: Section) -> None:
    """Refuse every step that would change pixels and that is not done here."""
    for step in ("do_resize", "do_rescale", "do_normalize"):
        if not section.flag(step, True):
            raise _unsupported(section, f"{step} = false")
    for key, value in section.values.items():
        unknown_step = key.startswith("do_") and key not in DONE
        if value and (unknown_step or key in CHANGES_PIXELS):
            raise _unsupported(section, f"{key} = {json.dumps(value)}")
    if abs(section.number("rescale_factor", 1 / 255) * 255 - 1) > 1e-6:
        raise _unsupported(section, "a rescale_factor other than 1 / 255")


def _mode(section: Section, kind: str, usual: UsualPreprocessing) -> Mode:
    # Other classes' do_pad is about batches, and changes no pixel of a square.
    if kind in ("", "LlavaImageProcessor") and section.flag("do_pad", False):
        return "pad"
    stretches = usual.mode == "stretch"
    if section.flag("do_center_crop", not stretches):
        if _exact(section):
            raise _unsupported(
                section, "a size that changes a picture's shape before it is cropped"
            )
        return "square"
    size = section.values.get("size")
    if _exact(section) or (stretches and not isinstance(size, dict)):
        return "stretch"
    raise _unsupported(section, "do_center_crop = false with a size that keeps a picture's shape")


def _sizes(section: Section, any_size: bool, image_size: int, mode: Mode) -> tuple[int, int]:
    """The size that the tower is shown, and what the shortest edge is resized to before."""
    crops = mode == "square" or (mode == "pad" and section.flag("do_center_crop", True))
    size, crop = _side(section, "size"), _side(section, "crop_size") if crops else None
    if any_size:
        shown = crop or size or image_size
        return shown, size or shown
    for key, side in (("crop_size", crop), ("size", None if crop else size)):
        if side not in (None, image_size):
            raise CheckpointError(
                f"{section.where} gives {json.dumps(section.values[key])} as {key}, but the tower "
                f"takes pictures of {image_size} x {image_size} pixels; correct one of them."
            )
    return image_size, size or image_size


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
    given = {side for side in sides.values if sides.has(side)}
    square = given == {"height", "width"} and sides.values["height"] == sides.values["width"]
    if not square and given != {"shortest_edge"}:
        raise _unsupported(section, f"{json.dumps(value)} as {key}, which is no square")
    return sides.integer(given.pop())


def _resample(section: Section, usual: UsualPreprocessing) -> Resample:
    if not section.has("resample"):
        return usual.resample
    number = section.values["resample"]
    if not isinstance(number, int) or number not in RESAMPLE:
        raise _unsupported(section, f"resample = {json.dumps(number)}")
    return RESAMPLE[number]


def _unsupported(section: Section, what: str) -> CheckpointError:
    return CheckpointError(
        f"{section.where} asks for {what}, which is not supported; resize (lanczos, bilinear or "
        "bicubic), crop or pad at will, rescale by 1 / 255 and normalize."
    )
