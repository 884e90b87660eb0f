"""preprocessor_config.json becomes our preprocessing, or is refused."""

import json
from pathlib import Path

import pytest
from transformers import CLIPImageProcessor

from llava_edge.errors import CheckpointError
from llava_edge.export.preprocessing import CLIP_MEAN, CLIP_STD, read_image_config

CROP = {"height": 30, "width": 30}


def write(folder: Path, **values: object) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(values))


def test_no_file_means_clip(tmp_path: Path) -> None:
    config = read_image_config(tmp_path, 30)
    clip = CLIPImageProcessor()
    assert config.mean == CLIP_MEAN == tuple(clip.image_mean)
    assert config.std == CLIP_STD == tuple(clip.image_std)
    assert (config.size, config.mode) == (30, "square")


def test_values_are_taken(tmp_path: Path) -> None:
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    write(tmp_path, image_mean=mean, image_std=std, size={"shortest_edge": 30}, crop_size=30)
    config = read_image_config(tmp_path, 30)
    assert (config.mean, config.std) == (tuple(mean), tuple(std))
    write(tmp_path, size=CROP, do_center_crop=False, do_pad=True)
    assert read_image_config(tmp_path, 30).mode == "pad"


def test_what_transformers_saves_is_read(tmp_path: Path) -> None:
    CLIPImageProcessor(size={"shortest_edge": 30}, crop_size=CROP).save_pretrained(tmp_path)
    assert read_image_config(tmp_path, 30).size == 30
    file = tmp_path / "preprocessor_config.json"
    values = json.loads(file.read_text())
    file.unlink()
    nested = {"image_processor": {**values, "do_pad": True}}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    assert read_image_config(tmp_path, 30).mode == "pad"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": {"shortest_edge": 28}}, "30 x 30"),
        ({"crop_size": {"height": 30, "width": 31}}, "30 x 30"),
        ({"size": CROP}, "do_pad"),
        ({"do_normalize": False}, "do_normalize"),
        ({"do_center_crop": False}, "do_center_crop"),
        ({"resample": 2}, "resample"),
        ({"rescale_factor": 1}, "rescale_factor"),
        ({"image_mean": [0.5]}, "three numbers"),
    ],
)
def test_other_preprocessing_is_refused(
    tmp_path: Path, values: dict[str, object], message: str
) -> None:
    write(tmp_path, **values)
    with pytest.raises(CheckpointError, match=message):
        read_image_config(tmp_path, 30)
