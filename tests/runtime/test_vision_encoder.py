"""Pictures are encoded once, and remembered by what is on them."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava_edge import Llava, PictureError, load
from llava_edge.runtime import picture_pixels


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


def test_a_file_is_known_before_it_is_decoded(
    model: Llava, photo_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = model.encode_image(photo_file)
    monkeypatch.setattr(picture_pixels, "load_picture", None)
    assert model.encode_image(photo_file) is first
    assert model.encode_image(photo_file.read_bytes()) is first


def test_palettes_are_told_apart(model: Llava, photo: Image.Image) -> None:
    first = photo.quantize(8)
    second = first.copy()
    second.putpalette([255 - value for value in first.getpalette() or ()])
    assert model.encode_image(first) != model.encode_image(second)


def test_what_was_asked_for_last_is_kept_up_to_so_many_bytes(
    tiny_bundle: Path, photo: Image.Image
) -> None:
    size = load(tiny_bundle).encode_image(photo).rows.nbytes
    model = load(tiny_bundle, image_cache=3 * size)
    pictures = [photo.rotate(angle) for angle in (0, 7, 14, 21)]
    first, second, third = (model.encode_image(picture) for picture in pictures[:3])
    assert model.encode_image(pictures[0]) is first
    model.encode_image(pictures[3])  # in the place of the second
    assert model.encode_image(pictures[0]) is first
    assert model.encode_image(pictures[2]) is third
    again = model.encode_image(pictures[1])
    assert again is not second
    assert again == second and hash(again) == hash(second)


def test_nothing_is_kept_where_no_bytes_are_given(tiny_bundle: Path, photo: Image.Image) -> None:
    model = load(tiny_bundle, image_cache=0)
    assert model.encode_image(photo) is not model.encode_image(photo)


def test_rows_cannot_be_changed(model: Llava, photo: Image.Image) -> None:
    with pytest.raises(ValueError, match="read-only"):
        model.encode_image(photo).rows[0, 0] = 1


def test_a_bad_picture(model: Llava) -> None:
    with pytest.raises(PictureError):
        model.encode_image(b"no picture")
