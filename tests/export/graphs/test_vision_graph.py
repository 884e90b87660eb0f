"""The written vision graph computes what transformers computes."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from sessions import EXACT, Sessions
from tiny import EFFICIENTNET, TOWERS, Tiny, write_llava
from transformers import LlavaForConditionalGeneration

from llava_edge.errors import CheckpointError
from llava_edge.export.export import export


def random_pixels(model: LlavaForConditionalGeneration, pictures: int = 2) -> torch.Tensor:
    side = model.config.vision_config.image_size
    return torch.randn(pictures, 3, side, side, generator=torch.Generator().manual_seed(0))


def judged(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> np.ndarray:
    """What transformers makes of the pixels: [n, T, D]."""
    with torch.no_grad():
        features = model.float().get_image_features(
            pixels,
            vision_feature_layer=model.config.vision_feature_layer,
            vision_feature_select_strategy=model.config.vision_feature_select_strategy,
        )
    return torch.stack(list(features.pooler_output)).numpy()


@pytest.mark.parametrize("tiny", TOWERS.values(), ids=TOWERS)
def test_image_embeddings_are_those_of_transformers(tmp_path: Path, tiny: Tiny) -> None:
    model = write_llava(tmp_path / "checkpoint", tiny)
    config = export(tmp_path / "checkpoint", tmp_path / "bundle", precision=EXACT)
    pixels = random_pixels(model)
    embeds = Sessions(tmp_path / "bundle").image_embeds(pixels.numpy())
    assert embeds.shape[1] == config.vision.image_tokens
    np.testing.assert_allclose(embeds, judged(model, pixels), atol=1e-4)


def test_any_number_of_pictures(tmp_path: Path) -> None:
    model = write_llava(tmp_path / "checkpoint")
    export(tmp_path / "checkpoint", tmp_path / "bundle")
    sessions, pixels = Sessions(tmp_path / "bundle"), random_pixels(model, 3).numpy()
    together = sessions.image_embeds(pixels)
    for picture, embeds in zip(pixels, together, strict=True):
        np.testing.assert_allclose(sessions.image_embeds(picture[None])[0], embeds, atol=1e-5)


def test_exact_gelu_in_the_tower(tmp_path: Path) -> None:
    write_llava(tmp_path / "checkpoint")
    path = tmp_path / "checkpoint" / "config.json"
    content = json.loads(path.read_text())
    content["vision_config"]["hidden_act"] = "gelu"
    path.write_text(json.dumps(content))
    model = LlavaForConditionalGeneration.from_pretrained(tmp_path / "checkpoint").eval()
    export(tmp_path / "checkpoint", tmp_path / "bundle", precision=EXACT)
    pixels = random_pixels(model)
    embeds = Sessions(tmp_path / "bundle").image_embeds(pixels.numpy())
    np.testing.assert_allclose(embeds, judged(model, pixels), atol=1e-4)


def test_layers_that_are_not_needed_are_not_written(tmp_path: Path) -> None:
    write_llava(tmp_path / "checkpoint", Tiny(feature_layer=-3, vision_layers=4))
    export(tmp_path / "checkpoint", tmp_path / "bundle")
    graph = onnx.load(tmp_path / "bundle" / "vision.cpu.onnx", load_external_data=False).graph
    assert sum(node.op_type == "MultiHeadAttention" for node in graph.node) == 2


def test_half_precision_weights_stay_exact(tmp_path: Path) -> None:
    """A float16 checkpoint's matrices are stored as they are, and computed with in float32."""
    model = write_llava(tmp_path / "checkpoint", Tiny(dtype=torch.float16))
    export(tmp_path / "checkpoint", tmp_path / "bundle")
    pixels = random_pixels(model)
    embeds = Sessions(tmp_path / "bundle").image_embeds(pixels.numpy())
    np.testing.assert_allclose(embeds, judged(model, pixels), atol=1e-4)


def test_folded_convolutions_are_stored_in_half(tmp_path: Path) -> None:
    model = write_llava(tmp_path / "checkpoint", EFFICIENTNET)
    export(tmp_path / "checkpoint", tmp_path / "bundle")
    pixels = random_pixels(model)
    embeds = Sessions(tmp_path / "bundle").image_embeds(pixels.numpy())
    np.testing.assert_allclose(embeds, judged(model, pixels), atol=5e-3)
    graph = onnx.load(tmp_path / "bundle" / "vision.cpu.onnx", load_external_data=False).graph
    kernels = [tensor for tensor in graph.initializer if len(tensor.dims) == 4]
    assert {tensor.data_type for tensor in kernels} == {onnx.TensorProto.FLOAT16}


def test_feature_levels_that_do_not_meet_are_refused(tmp_path: Path) -> None:
    write_llava(tmp_path / "checkpoint", EFFICIENTNET)
    path = tmp_path / "checkpoint" / "config.json"
    content = json.loads(path.read_text())
    content["vision_config"]["image_size"] = 60  # 15 pixels wide at the fine stage, 8 at the head
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="15 pixels wide and its head 8"):
        export(tmp_path / "checkpoint", tmp_path / "bundle")
    assert {child.name for child in tmp_path.iterdir()} == {"checkpoint"}
