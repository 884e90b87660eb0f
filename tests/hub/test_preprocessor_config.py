"""preprocessor_config.json becomes our preprocessing, or is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data
from transformers import (
    AutoImageProcessor,
    BitImageProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    SiglipImageProcessor,
)

from llava_edge.core.bundle_config import ImageConfig
from llava_edge.core.picture import preprocess
from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.towers.known_towers import read_tower
from llava_edge.hub.preprocessor_config import CLIP_MEAN, CLIP_STD, read_preprocessor_config

CROP = {"height": 30, "width": 30}


def read(folder: Path, kind: str = "clip_vision_model") -> ImageConfig:
    values = {"model_type": kind, "image_size": 30, "patch_size": 5}
    tower = read_tower(Section(values, "vision_config"))
    return read_preprocessor_config(folder, tower.usual, tower.image_size)


def write(folder: Path, **values: object) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(values))


def test_no_file_means_clip(tmp_path: Path) -> None:
    config = read(tmp_path)
    clip = CLIPImageProcessor()
    assert config.mean == CLIP_MEAN == tuple(clip.image_mean)
    assert config.std == CLIP_STD == tuple(clip.image_std)
    assert (config.size, config.mode, config.shortest_edge) == (30, "square", None)


def test_values_are_taken(tmp_path: Path) -> None:
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    write(tmp_path, image_mean=mean, image_std=std, size={"shortest_edge": 30}, crop_size=30)
    config = read(tmp_path)
    assert (config.mean, config.std) == (tuple(mean), tuple(std))
    write(tmp_path, size=CROP, do_center_crop=False, do_pad=True)
    assert read(tmp_path).mode == "pad"
    write(tmp_path, size={"shortest_edge": 40}, crop_size=CROP)
    assert read(tmp_path).shortest_edge == 40


def test_what_transformers_saves_is_read(tmp_path: Path) -> None:
    CLIPImageProcessor(size={"shortest_edge": 30}, crop_size=CROP).save_pretrained(tmp_path)
    assert read(tmp_path).size == 30
    file = tmp_path / "preprocessor_config.json"
    values = json.loads(file.read_text())
    file.unlink()
    nested = {"image_processor": {**values, "image_mean": [0.1, 0.2, 0.3]}}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    assert read(tmp_path).mean == (0.1, 0.2, 0.3)
    file.write_text(json.dumps(values))  # which transformers 5 reads after the other
    assert read(tmp_path).mean == tuple(AutoImageProcessor.from_pretrained(tmp_path).image_mean)
    assert read(tmp_path).mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize("with_file", [True, False])
def test_siglip_stretches(tmp_path: Path, with_file: bool) -> None:
    processor = SiglipImageProcessor(size=CROP)
    if with_file:
        processor.save_pretrained(tmp_path)
    config = read(tmp_path, "siglip_vision_model")
    assert (config.mode, config.size) == ("stretch", 30)
    assert (config.mean, config.std) == (tuple(processor.image_mean), tuple(processor.image_std))


def test_dinov2_takes_the_size_of_its_crop(tmp_path: Path) -> None:
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    assert read(tmp_path, "dinov2").size == 30
    BitImageProcessor(
        size={"shortest_edge": 24},
        crop_size={"height": 20, "width": 20},
        image_mean=mean,
        image_std=std,
    ).save_pretrained(tmp_path)
    config = read(tmp_path, "dinov2")
    assert (config.mode, config.size, config.shortest_edge) == ("square", 20, 24)
    assert (list(config.mean), list(config.std)) == (mean, std)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": {"shortest_edge": 28}}, "30 x 30"),
        ({"crop_size": {"height": 28, "width": 28}}, "30 x 30"),
        ({"crop_size": {"height": 30, "width": 31}}, "no square"),
        ({"size": CROP}, "before it is cropped"),
        ({"do_normalize": False}, "do_normalize"),
        ({"do_center_crop": False}, "do_center_crop"),
        ({"resample": 0}, "resample = 0"),
        ({"size": {"longest_edge": 30}}, "no square"),
        ({"size": {"shortest_edge": 30, "longest_edge": 30}}, "no square"),
        ({"do_pad": True, "size": {"shortest_edge": 60}, "crop_size": 60}, "60 as crop_size.*30 x"),
        ({"image_processor_type": "SiglipImageProcessor", "size": {"shortest_edge": 30}}, "shape"),
        ({"image_processor_type": "MobileViTImageProcessor"}, "MobileViTImageProcessor"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order = true"),
        ({"pad_size": {"height": 40, "width": 40}}, "pad_size"),
        ({"crop_pct": 0.9}, "crop_pct = 0.9"),
        ({"offset": True}, "offset"),
        ({"rescale_factor": 1}, "rescale_factor"),
        ({"image_mean": [0.5]}, "a list of 3 numbers"),
    ],
)
def test_other_preprocessing_is_refused(
    tmp_path: Path, values: dict[str, object], message: str
) -> None:
    write(tmp_path, **values)
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path)


SIZES = {"size": {"shortest_edge": 30}, "crop_size": CROP}
LARGER = {"size": {"shortest_edge": 37}, "crop_size": CROP}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("CLIPImageProcessor", SIZES),
        ("CLIPImageProcessor", LARGER),
        ("CLIPImageProcessorFast", {**SIZES, "do_pad": True, "resample": 1}),
        ("CLIPImageProcessorPil", {**SIZES, "resample": 2, "do_convert_rgb": False}),
        ("LlavaImageProcessor", {**SIZES, "do_pad": True}),
        ("LlavaImageProcessor", {**LARGER, "do_pad": True}),
        ("LlavaImageProcessor", {"size": CROP, "do_center_crop": False, "do_pad": True}),
        ("LlavaImageProcessorFast", {**LARGER, "do_pad": False}),
        ("SiglipImageProcessor", {"size": CROP, "resample": 1}),
        ("BitImageProcessor", {**LARGER, "image_mean": [0.4, 0.5, 0.6]}),
        ("ViTImageProcessor", {"size": CROP}),
        ("ViTFeatureExtractor", {"size": CROP}),
    ],
)
@pytest.mark.parametrize("shape", [(60, 41), (33, 80), (48, 48)])
def test_pixels_are_those_of_transformers_class(
    kind: str, values: dict[str, object], shape: tuple[int, int], tmp_path: Path
) -> None:
    """Whatever the tower's own kind, the named class fills in what the file leaves out."""
    key = "feature_extractor_type" if kind.endswith("Extractor") else "image_processor_type"
    write(tmp_path, **{key: kind}, **values)
    picture = Image.fromarray(data.astronaut()[: shape[1], 200 : 200 + shape[0]])
    processor = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    expected = processor(picture, return_tensors="np")["pixel_values"][0]
    for tower in ("clip_vision_model", "siglip_vision_model"):
        ours = preprocess(picture, read(tmp_path, tower))
        assert np.abs(ours - expected).max() <= 1 / 255 / min(processor.image_std) + 1e-5


def test_a_processor_of_another_size_is_refused_where_transformers_fails(tmp_path: Path) -> None:
    CLIPImageProcessor(
        size={"shortest_edge": 60}, crop_size={"height": 60, "width": 60}
    ).save_pretrained(tmp_path)
    model = CLIPVisionModel(
        CLIPVisionConfig(
            image_size=30,
            patch_size=5,
            hidden_size=8,
            intermediate_size=9,
            num_hidden_layers=1,
            num_attention_heads=2,
        )
    )
    picture = Image.new("RGB", (70, 50))
    pixels = AutoImageProcessor.from_pretrained(tmp_path)(picture, return_tensors="pt")
    with pytest.raises(ValueError, match="doesn't match model"):
        model(**pixels)
    with pytest.raises(CheckpointError, match=r"crop_size, but the tower takes pictures of 30 x"):
        read(tmp_path)
