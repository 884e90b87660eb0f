"""A picture's rows are computed once, are those of the tower, and survive a kill."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from llava_edge.core.bundle_config import ImageConfig
from llava_edge.core.picture import load_picture, preprocess
from llava_edge.train.inputs.batches import Devices
from llava_edge.train.inputs.picture_features import BLOCK, Features
from llava_edge.train.inputs.picture_views import PictureViews

IMAGE = ImageConfig(size=14, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), mode="square")
VIEWS = PictureViews(IMAGE, 0)
SHAPE = (6, 7)  # rows of a picture, channels


class Tower:
    """Counts the pictures that it is given."""

    def __init__(self, cut_after: int | None = None) -> None:
        self.seen = 0
        self.cut_after = cut_after

    def __call__(self, pixels: Tensor) -> Tensor:
        if self.seen == self.cut_after:
            raise KeyboardInterrupt
        self.seen += len(pixels)
        return pixels.flatten(1)[:, :42].reshape(-1, *SHAPE)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{index}.png" for index in range(2 * BLOCK + 3)]
    for index, path in enumerate(paths):
        Image.new("RGB", (20, 20), (index, 2 * index, 200 - index)).save(path)
    return paths


def features(folder: Path, pictures: list[Path], key: str = "tower") -> Features:
    made = Features(
        folder, [*pictures, pictures[0]], [1] * (len(pictures) + 1), SHAPE, torch.float32, key
    )
    made.create()
    return made


def test_rows_are_the_towers(pictures: list[Path], tmp_path: Path) -> None:
    made, tower = features(tmp_path, pictures), Tower()
    made.fill(tower, VIEWS, Devices(), str)
    assert tower.seen == len(pictures)
    for picture in (pictures[0], pictures[BLOCK], pictures[-1]):
        pixels = torch.from_numpy(preprocess(load_picture(picture), IMAGE))[None]
        assert torch.equal(made[picture], Tower()(pixels))


def test_what_was_computed_is_not_computed_again(pictures: list[Path], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        features(tmp_path, pictures).fill(Tower(cut_after=BLOCK), VIEWS, Devices(), str)
    tower = Tower()
    features(tmp_path, pictures).fill(tower, VIEWS, Devices(), str)
    assert tower.seen == len(pictures) - BLOCK
    features(tmp_path, pictures).fill(tower, VIEWS, Devices(), str)
    assert tower.seen == len(pictures) - BLOCK


def test_devices_share_the_work(pictures: list[Path], tmp_path: Path) -> None:
    towers = [Tower(), Tower()]
    for rank, tower in enumerate(towers):
        features(tmp_path, pictures).fill(tower, VIEWS, Devices(2, rank), str)
    assert [tower.seen for tower in towers] == [BLOCK + 3, BLOCK]
    assert features(tmp_path, pictures)[pictures[-1]].abs().sum() > 0


def test_another_tower_begins_anew(pictures: list[Path], tmp_path: Path) -> None:
    features(tmp_path, pictures).fill(Tower(), VIEWS, Devices(), str)
    tower = Tower()
    features(tmp_path, pictures, key="other").fill(tower, VIEWS, Devices(), str)
    assert tower.seen == len(pictures)
