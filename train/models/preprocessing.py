"""How pictures become pixels for a vision tower: read from its folder, and written for others."""

from pathlib import Path
from typing import Literal

from llava_edge.core.bundle_config import ImageConfig, TilesConfig
from llava_edge.errors import CheckpointError, TrainingError
from llava_edge.hub.preprocessor_config import RESAMPLE, read_preprocessor_config
from llava_edge.train.models.towers import CLIP, KINDS

NUMBERS = {name: number for number, name in RESAMPLE.items()}


def read_image_config(
    folder: Path, family: str, size: int, mode: Literal["square", "pad"] | None = None
) -> ImageConfig:
    """What the tower's folder says, or else what its family does; `mode` overrides both.

    `family` and `size` are the model_type and image_size of the tower's configuration; families
    that are not known are taken to do as CLIP's. Raises TrainingError where the folder asks for
    preprocessing that does not fit the tower or is not done here.
    """
    try:
        return read_preprocessor_config(folder, KINDS.get(family, CLIP).usual, size, mode)
    except CheckpointError as error:
        raise TrainingError(str(error)) from error


def image_processor(image: ImageConfig, tiles: TilesConfig | None = None) -> dict[str, object]:
    """The `preprocessor_config.json` by which transformers and export prepare pictures alike."""
    sides = {"height": image.size, "width": image.size}
    normal = {
        "image_mean": list(image.mean),
        "image_std": list(image.std),
        "resample": NUMBERS[image.resample],
    }
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
