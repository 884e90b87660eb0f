"""Image tokens counted from a configuration are the rows that the tower really yields."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_training import write_recipe

from llava_edge.errors import TrainingError
from llava_edge.train.models.model import build
from llava_edge.train.recipe import load_recipe
from llava_edge.train.records.image_tokens import count_image_tokens


@pytest.mark.parametrize("tower", ["clip", "efficientnet_lite"])
@pytest.mark.filterwarnings("ignore")  # of transformers, about what it initializes
def test_as_many_as_the_tower_yields(tmp_path: Path, tower: str) -> None:
    recipe = load_recipe(write_recipe(tmp_path, tower=tower))
    assert count_image_tokens(recipe) == build(recipe).encoding.image_tokens
    if tower == "clip":
        full = replace(recipe, vision_feature_select_strategy="full")
        assert count_image_tokens(full) == build(full).encoding.image_tokens


def test_a_whole_clip_model_names_its_tower(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    path = tmp_path / "tower" / "config.json"
    config = json.loads(path.read_text())
    expected = count_image_tokens(recipe)
    path.write_text(json.dumps({"model_type": "clip", "vision_config": config}))
    assert count_image_tokens(recipe) == expected
    path.write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(TrainingError, match="does not say how many image tokens"):
        count_image_tokens(recipe)
