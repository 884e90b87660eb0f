"""config.json is read strictly, with transformers' defaults for what it leaves out."""

import pytest
from tower_configs import EFFICIENTNET
from transformers import LlavaNextConfig

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.layouts.llava_config import (
    GRID_PINPOINTS,
    LlavaConfig,
    read_llava_config,
)

MINIMAL: dict[str, object] = {"model_type": "llava", "vision_config": {}, "text_config": {}}
CNN = {"vision_feature_layer": -1, "vision_feature_select_strategy": "full"}
NEXT = {"model_type": "llava_next", "vision_config": {"image_size": 336, "patch_size": 14}}


def llava(**changes: object) -> LlavaConfig:
    return read_llava_config(Section({**MINIMAL, **changes}, "config.json"))


def test_defaults_are_those_of_transformers() -> None:
    config = llava()
    assert (config.feature_layers, config.drop_first_row) == ((-2,), True)
    assert (config.projector_layers, config.projector_bias) == (2, True)
    assert config.grid_pinpoints == ()
    pinpoints = tuple(map(tuple, LlavaNextConfig().image_grid_pinpoints))
    assert llava(**NEXT).grid_pinpoints == GRID_PINPOINTS == pinpoints


def test_what_is_said_counts() -> None:
    assert llava(mm_projector_type="linear").projector_layers == 1
    assert llava(vision_feature_layer=[-2, 0]).feature_layers == (-2, 0)
    assert not llava(vision_feature_select_strategy="full").drop_first_row
    assert llava(**NEXT, image_grid_pinpoints=[[336, 672]]).grid_pinpoints == ((336, 672),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "qwen2_vl"}, '"qwen2_vl" as model_type, but "llava" or "llava_next" is'),
        ({"vision_config": EFFICIENTNET}, "neither layers"),
        ({"projector_hidden_act": "relu"}, "projector_hidden_act"),
        ({"mm_projector_type": "mlp3x_gelu"}, "mm_projector_type"),
        ({"vision_feature_select_strategy": "cls"}, '"default" or "full"'),
        ({"vision_feature_layer": 13}, "it has 13 to choose from"),
        ({"vision_feature_layer": [-2, "-3"]}, "list of whole numbers"),
        ({**NEXT, "image_grid_pinpoints": [[336, 600]]}, "multiples of the tower's 336 pixels"),
        ({**NEXT, "vision_feature_select_strategy": "full"}, "tiles do not fit together"),
        ({**NEXT, "image_grid_pinpoints": "(1x1)"}, r"a list of \[height, width\]"),
        ({**NEXT, "image_grid_pinpoints": []}, r"a list of \[height, width\]"),
    ],
)
def test_what_is_not_supported_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        llava(**changes)
