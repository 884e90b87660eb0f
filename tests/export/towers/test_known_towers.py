"""A vision tower's configuration has transformers' defaults and contradicts nothing."""

import pytest
from tower_configs import EFFICIENTNET
from transformers import CLIPVisionConfig, Dinov2Config, SiglipVisionConfig

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.layouts.tensor_names import canonical
from llava_edge.export.towers.dinov2 import Dinov2Tower
from llava_edge.export.towers.efficientnet_lite import EfficientNetLiteTower
from llava_edge.export.towers.known_towers import TOWERS, read_tower
from llava_edge.export.towers.vision_tower import VisionTower
from llava_edge.export.towers.vit import Vit


def tower(**values: object) -> VisionTower:
    return read_tower(Section(values, "vision_config"))


@pytest.mark.parametrize("theirs", [CLIPVisionConfig(), SiglipVisionConfig(), Dinov2Config()])
def test_defaults_are_those_of_transformers(
    theirs: CLIPVisionConfig | SiglipVisionConfig | Dinov2Config,
) -> None:
    ours = tower(model_type=theirs.model_type)
    assert isinstance(ours, Vit)
    assert ours.model_type == theirs.model_type
    assert ours.hidden_size == theirs.hidden_size
    assert ours.num_layers == theirs.num_hidden_layers
    assert ours.num_heads == theirs.num_attention_heads
    assert ours.image_size == theirs.image_size
    assert ours.patch_size == theirs.patch_size
    assert ours.layer_norm_eps == theirs.layer_norm_eps
    assert ours.hidden_act == theirs.hidden_act
    if isinstance(theirs, Dinov2Config):
        assert ours.intermediate_size == theirs.mlp_ratio * theirs.hidden_size
    else:
        assert ours.intermediate_size == theirs.intermediate_size


def test_dinov2_is_shown_pictures_of_another_size() -> None:
    ours = tower(model_type="dinov2", image_size=518).shown(224)
    assert isinstance(ours, Dinov2Tower)
    assert (ours.image_size, ours.trained_size, ours.side) == (224, 518, 16)
    assert tower().shown(99) == tower()


def test_swiglu_takes_what_transformers_makes_of_the_ratio() -> None:
    ours = tower(model_type="dinov2", hidden_size=40, num_attention_heads=5, use_swiglu_ffn=True)
    assert isinstance(ours, Dinov2Tower) and ours.swiglu
    assert ours.intermediate_size == 112  # 4 * 40 * 2 / 3, up to a multiple of 8


def test_efficientnet_lite() -> None:
    ours = tower(**EFFICIENTNET)
    assert isinstance(ours, EfficientNetLiteTower)
    assert ours.stages == ((3, 1, 1, 8, 1), (5, 2, 6, 12, 2))
    assert ours.hidden_size == 30 + 4 * 8


@pytest.mark.parametrize("kind", TOWERS)
def test_a_tower_reads_what_transformers_is_told_of_it(kind: type[VisionTower]) -> None:
    ours = tower(**{**EFFICIENTNET, "image_size": 224, "model_type": kind.model_type})
    assert type(ours) is kind
    theirs = ours.transformers_config()
    assert theirs.model_type == kind.model_type
    assert tower(**theirs.to_dict()) == ours


@pytest.mark.parametrize("kind", TOWERS)
def test_names_of_tensors_are_canonical_and_used(kind: type[VisionTower]) -> None:
    ours = tower(**{**EFFICIENTNET, "image_size": 224, "model_type": kind.model_type})
    names = [name for name, _ in ours.shapes([-1])]
    assert names and len(set(names)) == len(names)
    for name in names:
        assert name.startswith("vision_tower.")
        assert canonical(name) == canonical(f"model.{name}") == name
        assert not ours.is_unused(name, [-1])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "vit"}, '"vit" as model_type'),
        ({"hidden_size": 0}, "positive whole number"),
        ({"hidden_size": 40, "num_attention_heads": 3}, "contradicts itself"),
        ({"image_size": 16, "patch_size": 17}, "contradicts itself"),
        ({"num_channels": 1}, "pictures are RGB"),
        ({"hidden_act": "relu"}, "hidden_act"),
        ({**EFFICIENTNET, "fine_stage": 2}, "fine_stage"),
        ({**EFFICIENTNET, "stages": [[3, 1]]}, "whole numbers"),
        ({**EFFICIENTNET, "stages": [[3, 0, 1, 8, 1]], "fine_stage": 0}, "positive numbers"),
    ],
)
def test_what_is_not_supported_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        tower(**values)
