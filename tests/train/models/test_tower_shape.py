"""What is known of a tower before it is loaded is what it really yields."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_learner import CLIP, TEXT, TOWER, write_parts
from tiny_training import write_recipe
from transformers import (
    Dinov2Config,
    Dinov2WithRegistersConfig,
    LlamaConfig,
    SiglipVisionConfig,
)

from llava_edge.errors import TrainingError
from llava_edge.train.models.learner import build, tower_rows
from llava_edge.train.models.text_encoding import read_encoding
from llava_edge.train.planning.model_shape import model_shape
from llava_edge.train.recipe import Recipe, load_recipe

pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers, about what it initializes
DINO = {key: value for key, value in TOWER.items() if key != "intermediate_size"}
REGISTERS = Dinov2WithRegistersConfig(**DINO, mlp_ratio=2, num_register_tokens=3)
CROP = {"size": {"shortest_edge": 25}, "crop_size": {"height": 20, "width": 20}}
FULL = {"vision_feature_select_strategy": "full"}


def check(recipe: Recipe) -> None:
    learner, encoding = build(recipe), read_encoding(recipe)
    size = learner.encoding.image.size
    rows = tower_rows(learner.model, torch.zeros(1, 3, size, size))[0]
    shape = model_shape(recipe).tower
    assert (shape.image_tokens, shape.channels) == rows.shape
    assert encoding.image_tokens == learner.encoding.image_tokens == len(rows)
    assert encoding.image == learner.encoding.image
    assert shape.parameters == sum(p.numel() for p in learner.model.model.vision_tower.parameters())


@pytest.mark.parametrize(
    ("tower", "changes", "processor"),
    [
        (CLIP, {}, None),
        (CLIP, FULL, None),
        (SiglipVisionConfig(**TOWER), FULL, None),
        (Dinov2Config(**DINO, mlp_ratio=2), {}, None),
        (Dinov2Config(**DINO, mlp_ratio=2), {"image_mode": "pad"}, CROP),
        (REGISTERS, FULL, None),
        (REGISTERS, {}, CROP),
    ],
)
def test_rows_and_pixels_are_known_before_the_tower_is_loaded(
    tower: Any, changes: Any, processor: Any, tmp_path: Path
) -> None:
    recipe = write_parts(tmp_path, tower, LlamaConfig(**TEXT), **changes)
    if processor:
        (tmp_path / "tower" / "preprocessor_config.json").write_text(json.dumps(processor))
    check(recipe)


def test_those_of_a_convolutional_tower(tmp_path: Path) -> None:
    check(load_recipe(write_recipe(tmp_path, tower="efficientnet_lite")))


def test_a_whole_clip_model_names_its_tower(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    path = tmp_path / "tower" / "config.json"
    config = json.loads(path.read_text())
    expected = read_encoding(recipe).image_tokens
    path.write_text(json.dumps({"model_type": "clip", "vision_config": config}))
    assert read_encoding(recipe).image_tokens == expected
    path.write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(TrainingError, match="llama, which sees no pictures"):
        read_encoding(recipe)


def test_what_a_configuration_leaves_out_is_its_familys(tmp_path: Path) -> None:
    """As in the base sizes of SigLIP on the hub, whose vision_config has no sizes."""
    recipe = load_recipe(write_recipe(tmp_path), ['vision_feature_select_strategy="full"'])
    path = tmp_path / "tower" / "config.json"
    path.write_text(json.dumps({"model_type": "siglip", "vision_config": {}, "text_config": {}}))
    assert read_encoding(recipe).image_tokens == 14 * 14
