"""LLaVA-NeXT's tiles are those of transformers, and so are the rows that come of them."""

import numpy as np
import pytest
import torch
from PIL import Image
from sessions import EXACT
from tiny import Tiny, write_llava
from transformers import LlavaNextForConditionalGeneration
from transformers.models.llava_next.image_processing_pil_llava_next import (
    LlavaNextImageProcessorPil,
)

from llava_edge import Llava, Options, load
from llava_edge.core.bundle_config import ImageConfig, TensorRef, TilesConfig
from llava_edge.core.tiles import best_size, cut
from llava_edge.export.export import export

SIDE = 30
TINY = Tiny(tiles=True, image_size=SIDE, patch_size=5)
SHAPES = pytest.mark.parametrize(
    "shape", [(30, 30), (61, 200), (200, 61), (59, 60), (17, 90), (300, 299), (7, 5), (90, 31)]
)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> LlavaNextForConditionalGeneration:
    folder = tmp_path_factory.mktemp("next") / "checkpoint"
    folder.mkdir()
    model = write_llava(folder, TINY)
    processor(model).save_pretrained(folder)
    model.folder = folder
    return model


@pytest.fixture(scope="module")
def ours(
    theirs: LlavaNextForConditionalGeneration, tmp_path_factory: pytest.TempPathFactory
) -> Llava:
    bundle = tmp_path_factory.mktemp("next") / "bundle"
    export(theirs.folder, bundle, precision=EXACT)
    return load(bundle)


def processor(model: LlavaNextForConditionalGeneration) -> LlavaNextImageProcessorPil:
    return LlavaNextImageProcessorPil(
        size={"shortest_edge": SIDE},
        crop_size={"height": SIDE, "width": SIDE},
        image_grid_pinpoints=model.config.image_grid_pinpoints,
    )


def cropped(photo: Image.Image, shape: tuple[int, int]) -> Image.Image:
    height, width = shape
    return photo.crop((20, 0, 20 + width, height))


@SHAPES
def test_pixels_and_rows(
    theirs: LlavaNextForConditionalGeneration,
    ours: Llava,
    photo: Image.Image,
    shape: tuple[int, int],
) -> None:
    picture = cropped(photo, shape)
    expected = processor(theirs)(picture, return_tensors="pt")
    tiles = ours.config.vision.tiles
    assert tiles is not None
    pixels = cut(picture, ours.config.vision.image, tiles)
    np.testing.assert_allclose(pixels, expected.pixel_values[0].numpy(), atol=1e-5)
    with torch.no_grad():
        (rows,) = theirs.get_image_features(
            expected.pixel_values,
            expected.image_sizes,
            vision_feature_layer=theirs.config.vision_feature_layer,
            vision_feature_select_strategy="default",
        ).pooler_output
    np.testing.assert_allclose(ours.encode_image(picture).rows, rows.numpy(), atol=1e-4)


def test_pictures_of_one_prompt_take_different_numbers_of_tokens(
    ours: Llava, photo: Image.Image
) -> None:
    tall, wide = (ours.encode_image(cropped(photo, shape)) for shape in ((200, 61), (30, 30)))
    assert len(tall.rows) != len(wide.rows)
    pieces = list(ours.stream("<image> or <image>?", [tall, wide], options=Options(max_tokens=2)))
    assert pieces[-1].timings.image_tokens == len(tall.rows) + len(wide.rows)


def test_the_best_size_keeps_most_and_wastes_least() -> None:
    tiles = TilesConfig(((336, 672), (672, 336), (672, 672)), TensorRef(0, (1,), "float32"))
    assert best_size((1000, 2000), tiles) == (336, 672)
    assert best_size((2000, 1000), tiles) == (672, 336)
    assert best_size((2000, 2000), tiles) == (672, 672)
    assert best_size((100, 110), tiles) == (336, 672)  # whole in all: the first of the smallest


def test_a_tile_is_as_large_as_the_tower_takes(photo: Image.Image) -> None:
    image = ImageConfig(20, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "square")
    tiles = TilesConfig(((40, 60),), TensorRef(0, (1,), "float32"))
    assert cut(photo, image, tiles).shape == (1 + 2 * 3, 3, 20, 20)
