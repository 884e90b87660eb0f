"""preprocessor_config.json becomes our preprocessing, or is refused."""

import json
from pathlib import Path

import pytest
from transformers import BitImageProcessor, CLIPImageProcessor, SiglipImageProcessor

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.layouts.preprocessor_config import read_preprocessor_config
from llava_edge.export.towers.known_towers import read_tower
from llava_edge.export.towers.vision_tower import CLIP_MEAN, CLIP_STD, VisionTower

CROP = {"height": 30, "width": 30}


def tower(kind: str = "clip_vision_model") -> VisionTower:
    values = {"model_type": kind, "image_size": 30, "patch_size": 5}
    return read_tower(Section(values, "vision_config"))


def write(folder: Path, **values: object) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(values))


def test_no_file_means_clip(tmp_path: Path) -> None:
    config = read_preprocessor_config(tmp_path, tower())
    clip = CLIPImageProcessor()
    assert config.mean == CLIP_MEAN == tuple(clip.image_mean)
    assert config.std == CLIP_STD == tuple(clip.image_std)
    assert (config.size, config.mode, config.shortest_edge) == (30, "square", None)


def test_values_are_taken(tmp_path: Path) -> None:
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    write(tmp_path, image_mean=mean, image_std=std, size={"shortest_edge": 30}, crop_size=30)
    config = read_preprocessor_config(tmp_path, tower())
    assert (config.mean, config.std) == (tuple(mean), tuple(std))
    write(tmp_path, size=CROP, do_center_crop=False, do_pad=True)
    assert read_preprocessor_config(tmp_path, tower()).mode == "pad"
    write(tmp_path, size={"shortest_edge": 40}, crop_size=CROP)
    assert read_preprocessor_config(tmp_path, tower()).shortest_edge == 40


def test_what_transformers_saves_is_read(tmp_path: Path) -> None:
    CLIPImageProcessor(size={"shortest_edge": 30}, crop_size=CROP).save_pretrained(tmp_path)
    assert read_preprocessor_config(tmp_path, tower()).size == 30
    file = tmp_path / "preprocessor_config.json"
    values = json.loads(file.read_text())
    file.unlink()
    nested = {"image_processor": {**values, "do_pad": True}}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    assert read_preprocessor_config(tmp_path, tower()).mode == "pad"


@pytest.mark.parametrize("with_file", [True, False])
def test_siglip_stretches(tmp_path: Path, with_file: bool) -> None:
    processor = SiglipImageProcessor(size=CROP)
    if with_file:
        processor.save_pretrained(tmp_path)
    config = read_preprocessor_config(tmp_path, tower("siglip_vision_model"))
    assert (config.mode, config.size) == ("stretch", 30)
    assert (config.mean, config.std) == (tuple(processor.image_mean), tuple(processor.image_std))


def test_dinov2_takes_the_size_of_its_crop(tmp_path: Path) -> None:
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    assert read_preprocessor_config(tmp_path, tower("dinov2")).size == 30
    BitImageProcessor(
        size={"shortest_edge": 24},
        crop_size={"height": 20, "width": 20},
        image_mean=mean,
        image_std=std,
    ).save_pretrained(tmp_path)
    config = read_preprocessor_config(tmp_path, tower("dinov2"))
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
        ({"resample": 2}, "resample"),
        ({"rescale_factor": 1}, "rescale_factor"),
        ({"image_mean": [0.5]}, "a list of 3 numbers"),
    ],
)
def test_other_preprocessing_is_refused(
    tmp_path: Path, values: dict[str, object], message: str
) -> None:
    write(tmp_path, **values)
    with pytest.raises(CheckpointError, match=message):
        read_preprocessor_config(tmp_path, tower())
