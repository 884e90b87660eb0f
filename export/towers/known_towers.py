"""The vision towers that export knows: a new kind is a file beside this one and a name in it."""

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.towers.clip import ClipTower
from llava_edge.export.towers.dinov2 import Dinov2Tower
from llava_edge.export.towers.efficientnet_lite import EfficientNetLiteTower
from llava_edge.export.towers.siglip import SiglipTower
from llava_edge.export.towers.vision_tower import VisionTower

TOWERS: tuple[type[VisionTower], ...] = (
    ClipTower,
    SiglipTower,
    Dinov2Tower,
    EfficientNetLiteTower,
)
_BY_TYPE = {tower.model_type: tower for tower in TOWERS}
# Models with a text model beside the tower, by their own model_type.
_WITH_TEXT: dict[str, type[VisionTower]] = {"clip": ClipTower, "siglip": SiglipTower}


def read_tower(vision: Section) -> VisionTower:
    """Read a vision_config; raises CheckpointError where export does not support the tower."""
    kind = vision.choice("model_type", tuple(_BY_TYPE), ClipTower.model_type)
    if vision.integer("num_channels", 3) != 3:
        raise CheckpointError(f"{vision.where} must give 3 as num_channels: pictures are RGB.")
    return _BY_TYPE[kind].read(vision)


def read_own_tower(config: Section) -> VisionTower:
    """Read the config.json of a tower's own folder, which may hold its text model as well.

    Raises CheckpointError where export does not support the tower.
    """
    kind = _WITH_TEXT.get(config.text("model_type"))
    if kind is None:
        return read_tower(config)
    vision = config.section("vision_config")
    return read_tower(Section({**vision.values, "model_type": kind.model_type}, vision.where))


def respell_tower(name: str) -> str:
    """The canonical name of a tower's tensor, whatever its kind."""
    for tower in TOWERS:
        name = tower.respell(name)
    return name
