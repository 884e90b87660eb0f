"""Vision towers load from any folder that holds one, and are shown what export will show them."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_learner import CLIP, TEXT, TOWER, write_parts
from transformers import (
    AutoModel,
    CLIPConfig,
    CLIPTextConfig,
    CLIPVisionModel,
    Dinov2Config,
    LlamaConfig,
    SiglipConfig,
    SiglipTextConfig,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from llava_edge.core.bundle_config import ImageConfig
from llava_edge.errors import TrainingError
from llava_edge.export.layouts.checkpoint import open_checkpoint
from llava_edge.train.checkpoints.save import save_checkpoint
from llava_edge.train.models.learner import build
from llava_edge.train.models.towers import load_tower

SIGLIP = SiglipVisionConfig(**TOWER)
DINOV2 = Dinov2Config(
    **{key: value for key, value in TOWER.items() if key != "intermediate_size"}, mlp_ratio=2
)
SMALL = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 1, "vocab_size": 70}
HALF = (0.5, 0.5, 0.5)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_of_a_model_with_text_the_vision_part_is_taken(kind: str, tmp_path: Path) -> None:
    text = {**SMALL, "num_attention_heads": 4}
    config = {
        "clip": lambda: CLIPConfig(text_config=CLIPTextConfig(**text), vision_config=CLIP),
        "siglip": lambda: SiglipConfig(text_config=SiglipTextConfig(**text), vision_config=SIGLIP),
    }[kind]()
    whole = AutoModel.from_config(config)
    whole.save_pretrained(tmp_path)
    tower = load_tower(tmp_path, torch.float32)
    assert type(tower) is {"clip": CLIPVisionModel, "siglip": SiglipVisionModel}[kind]
    pixels = torch.randn(2, 3, 30, 30)
    expected = whole.vision_model(pixels).last_hidden_state
    torch.testing.assert_close(tower(pixels).last_hidden_state, expected)


@pytest.mark.parametrize(
    "tower, changes, processor, expected",
    [
        (CLIP, {}, None, {"mode": "square", "mean": (0.48145466, 0.4578275, 0.40821073)}),
        (CLIP, {"image_mode": "pad"}, None, {"mode": "pad"}),
        (CLIP, {}, {"do_pad": True, "image_std": [0.1, 0.2, 0.3]}, {"std": (0.1, 0.2, 0.3)}),
        (
            CLIP,
            {},
            {"size": {"shortest_edge": 34}, "crop_size": {"height": 30, "width": 30}},
            {"shortest_edge": 34},
        ),
        (SIGLIP, {}, None, {"mode": "stretch", "mean": HALF, "std": HALF}),
        (SIGLIP, {"image_mode": "pad"}, None, {"mode": "pad", "mean": HALF}),
        (DINOV2, {}, None, {"mode": "square", "mean": (0.485, 0.456, 0.406), "size": 30}),
        (
            DINOV2,
            {},
            {"size": {"shortest_edge": 25}, "crop_size": {"height": 20, "width": 20}},
            {"size": 20, "shortest_edge": 25},
        ),
    ],
)
def test_export_shows_a_tower_what_training_did(
    tower: Any, changes: Any, processor: Any, expected: dict[str, Any], tmp_path: Path
) -> None:
    if tower is SIGLIP:
        changes = {**changes, "vision_feature_select_strategy": "full"}
    recipe = write_parts(tmp_path, tower, LlamaConfig(**TEXT), **changes)
    if processor:
        (tmp_path / "tower" / "preprocessor_config.json").write_text(json.dumps(processor))
    learner = build(recipe)
    image: ImageConfig = learner.encoding.image
    assert replace(image, **expected) == image
    save_checkpoint(learner, recipe, tmp_path / "checkpoint")
    assert open_checkpoint(tmp_path / "checkpoint").image == image


@pytest.mark.parametrize("mode", [None, "pad", "square"])
def test_a_processor_that_does_not_fit_its_tower_is_refused(mode: Any, tmp_path: Path) -> None:
    recipe = write_parts(tmp_path, CLIP, LlamaConfig(**TEXT), image_mode=mode)
    size = 2 * CLIP.image_size
    sizes = {"size": {"shortest_edge": size}, "crop_size": {"height": size, "width": size}}
    (tmp_path / "tower" / "preprocessor_config.json").write_text(json.dumps(sizes))
    with pytest.raises(TrainingError, match=f"takes pictures of {CLIP.image_size} x"):
        build(recipe)


@pytest.mark.parametrize(
    "tower, changes, reason",
    [
        (SIGLIP, {}, 'no class token.*set it to "full"'),
        (CLIP, {"vision_feature_layer": -5}, "-5; give one of -4 to 3"),
        (LlamaConfig(**TEXT), {}, "is a llama; give one of clip"),
    ],
)
def test_a_recipe_that_contradicts_its_tower_is_refused(
    tower: Any, changes: Any, reason: str, tmp_path: Path
) -> None:
    recipe = write_parts(tmp_path, tower, LlamaConfig(**TEXT), **changes)
    with pytest.raises(TrainingError, match=reason):
        build(recipe)


def test_the_tower_is_known_without_what_training_alone_needs() -> None:
    """As the judge of an export has it, whose extra brings torch and transformers."""
    code = (
        "import sys\n"
        "for name in ('accelerate', 'peft', 'pyarrow'):\n"
        "    sys.modules[name] = None\n"
        "import llava_edge.train.models.efficientnet_lite_model\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
