"""Pictures are encoded once, and remembered by what is on them."""

import io

import numpy as np
import pytest
from PIL import Image

from llava_edge import Llava, PictureError
from llava_edge.vision import REMEMBERED


def test_rows_have_the_shape_of_the_config(model: Llava, photo: Image.Image) -> None:
    rows = model.encode_image(photo).rows
    assert rows.shape == (model.config.vision.image_tokens, model.config.decoder.hidden_size)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()


def test_remembered_by_content(model: Llava, photo: Image.Image) -> None:
    file = io.BytesIO()
    photo.save(file, "PNG")
    first = model.encode_image(photo)
    assert model.encode_image(file.getvalue()) is first
    assert model.encode_image(photo.rotate(180)) is not first


def test_only_a_few_are_kept(model: Llava, photo: Image.Image) -> None:
    first = model.encode_image(photo)
    for angle in range(1, REMEMBERED + 1):
        model.encode_image(photo.rotate(angle * 7))
    again = model.encode_image(photo)
    assert again is not first
    assert np.array_equal(again.rows, first.rows)


def test_rows_cannot_be_changed(model: Llava, photo: Image.Image) -> None:
    with pytest.raises(ValueError, match="read-only"):
        model.encode_image(photo).rows[0, 0] = 1


def test_a_bad_picture(model: Llava) -> None:
    with pytest.raises(PictureError):
        model.encode_image(b"no picture")
