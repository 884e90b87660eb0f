"""Wrong arguments of public calls end in the project's own error, in one plain sentence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava_edge import ImageEmbeddings, Llava, LlavaEdgeError, Options, UsageError, load

LOAD = {
    "bundle": (5, b"path", "\0", "~nobody-of-this-name/bundle"),
    "device": (None, 5, ["cpu"]),
    "context": (1.5, True, "100", np.float64(100)),
    "image_cache": (-1, None, 0.5, "x"),
    "gpu_memory": (-1, "x", 1e9, True),
    "idle_trim": (0, -1.0, "60", True),
    "progress": (5, "tell", []),
}
PICTURES = (5, {"a": 1}, Options(), [5], ["photo.jpg", None], [["photo.jpg"]], np.zeros((9, 9, 2)))


def assert_sentence(call: Callable[[], object], said: str) -> None:
    with pytest.raises(LlavaEdgeError, match=said) as refused:
        call()
    assert str(refused.value).endswith(".")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in LOAD.items() for value in values]
)
def test_load_refuses(tiny_bundle: Path, name: str, value: object) -> None:
    arguments = {"bundle": tiny_bundle, name: value}
    assert_sentence(lambda: load(**arguments), rf"(^|he ){name} .*; (give|choose)")  # type: ignore[arg-type]


def test_load_takes_numbers_of_numpy(tiny_bundle: Path) -> None:
    model = load(tiny_bundle, context=np.int64(100), image_cache=np.int32(0))  # type: ignore[arg-type]
    assert model.decoder.context == 100


@pytest.mark.parametrize("prompt", [None, 5, b"Tell", ["Tell"]])
def test_a_prompt_is_a_string(model: Llava, prompt: str) -> None:
    for asked in (model, model.chat()):
        for call in (asked.answer, asked.stream):
            assert_sentence(lambda call=call: call(prompt), r"^prompt is .*; give a string")


def test_half_a_character_is_no_prompt(model: Llava) -> None:
    assert_sentence(
        lambda: model.answer("Tell \ud83d"), r"half a character at place 5 \('\\ud83d'\)"
    )


@pytest.mark.parametrize("image", PICTURES, ids=lambda image: type(image).__name__)
def test_what_is_no_picture(model: Llava, image: Image.Image) -> None:
    for asked in (model, model.chat()):
        assert_sentence(lambda asked=asked: asked.stream("Tell", image), "^A picture of the type ")


@pytest.mark.parametrize("image", [None, 5, ["photo.jpg"], np.zeros((9, 9, 2))])
def test_one_picture_is_encoded(model: Llava, image: Image.Image) -> None:
    assert_sentence(lambda: model.encode_image(image), "^A picture of the type ")


@pytest.mark.parametrize("options", [None, {"max_tokens": 3}, "short"])
def test_options_are_options(model: Llava, options: Options) -> None:
    for asked in (model, model.chat()):
        assert_sentence(
            lambda asked=asked: asked.stream("Tell", options=options),
            r"^options is .*; give llava_edge\.Options",
        )


@pytest.mark.parametrize("count", [0, -1, True, 1.5, "x"])
def test_a_number_of_image_tokens(model: Llava, photo: Image.Image, count: int) -> None:
    assert_sentence(
        lambda: model.encode_image(photo, count),
        "^image_tokens is .*; give a positive whole number",
    )


@pytest.mark.parametrize("rows", ["x", [1.0], np.zeros(3, np.float32), np.zeros((2, 3))])
def test_image_embeddings_are_rows(rows: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"give float32 \[T, D\]"):
        ImageEmbeddings(rows)


def test_embeddings_of_another_model(model: Llava) -> None:
    picture = ImageEmbeddings(np.zeros((4, 5), np.float32))
    assert_sentence(
        lambda: model.answer("Tell", picture), "rows have 5 numbers, .* have 96; encode"
    )


@pytest.mark.parametrize("path", [None, 5, b"chat.npz", "\0"])
def test_a_conversation_is_saved_to_a_path(model: Llava, path: str) -> None:
    chat = model.chat()
    for call in (chat.save, chat.restore, model.load_chat):
        assert_sentence(lambda call=call: call(path), "^path is .*; give a path")


def test_fewer_tokens_of_an_encoded_picture(model: Llava, photo: Image.Image) -> None:
    whole, some = model.encode_image(photo), model.encode_image(photo, 7)
    assert model.encode_image(whole, 7) == model.encode_image(some, 7) == some
    options = Options(max_tokens=2, image_tokens=7)
    for asked in (model, model.chat()):
        for picture in (photo, whole, some):
            *_, last = asked.stream("<image> and <image>", [picture, photo], options)
            assert last.timings.image_tokens % 7 == 0
        assert_sentence(
            lambda asked=asked: asked.answer("Tell", some, Options(image_tokens=8)),
            "image_tokens is 8, but the picture has 7",
        )


def test_encoded_pictures_count_as_what_they_are(model: Llava, photo: Image.Image) -> None:
    """Nine whole pictures do not fit the context, nine reduced ones do."""
    some = model.encode_image(photo, 3)
    *_, last = model.stream("<image>" * 9, [some] * 9, Options(max_tokens=1))
    assert last.timings.image_tokens == 27
