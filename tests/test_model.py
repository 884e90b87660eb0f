"""Llava's public calls: the same answers however they are asked for, and refusals in a sentence."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration

from llava_edge import BundleError, Llava, PictureError, PromptError, UsageError, load
from llava_edge.image import preprocess

QUESTION = "What is in the picture?"


def test_answer_is_the_joined_stream(model: Llava, photo: Image.Image) -> None:
    pieces = list(model.stream(QUESTION, photo, max_tokens=20))
    assert "".join(piece.text for piece in pieces) == model.answer(QUESTION, photo, max_tokens=20)
    assert len(pieces) > 2


def test_the_same_whatever_was_asked_before(model: Llava, photo: Image.Image) -> None:
    first = model.answer(QUESTION, photo, max_tokens=30)
    model.answer("Something else", max_tokens=5)
    assert model.answer(QUESTION, photo, max_tokens=30) == first


def test_timings(model: Llava, photo: Image.Image) -> None:
    *_, last = model.stream(QUESTION, photo, max_tokens=9)
    timings = last.timings
    assert timings.image_tokens == model.config.vision.image_tokens
    assert timings.prefilled_tokens == timings.prompt_tokens > timings.image_tokens
    assert 1 <= timings.generated_tokens <= 9
    assert 0 < timings.prefill_seconds < timings.ttft_seconds
    assert timings.encode_seconds < timings.ttft_seconds


def test_the_picture_matters_and_so_does_its_place(model: Llava, photo: Image.Image) -> None:
    def logits(prompt: str, *images: Image.Image) -> list[float]:
        model.context.clear()
        return list(model.context.fill(model.items(prompt, list(images)))[0])

    other = photo.rotate(180)
    assert logits(QUESTION, photo) == logits(f"<image>\n{QUESTION}", photo)
    assert logits(QUESTION, photo) != logits(QUESTION, other)
    assert logits(QUESTION, photo) != logits(f"{QUESTION}<image>", photo)
    two = "<image> or <image>?"
    assert logits(two, photo, other) != logits(two, other, photo)


def test_every_way_to_give_a_picture(model: Llava, photo: Image.Image, photo_file: Path) -> None:
    embeddings = model.encode_image(photo)
    sources = [photo, photo_file, str(photo_file), photo_file.read_bytes(), embeddings, [photo]]
    assert len({model.answer(QUESTION, source, max_tokens=8) for source in sources}) == 1


def test_seeds_repeat(model: Llava) -> None:
    def drawn(seed: int) -> str:
        return model.answer("Tell", max_tokens=20, temperature=2.0, seed=seed)

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_pieces_join_to_the_text_of_the_ids(model: Llava) -> None:
    items = model.items("Tell")
    prompt = len(items)
    from llava_edge.sampling import Sampler

    sampler = Sampler(temperature=3.0, seed=1)
    pieces = list(model.generate(items, sampler, max_tokens=40, encode_seconds=0))
    ids = [item for item in items[prompt:] if isinstance(item, int)]
    assert pieces[-1].timings.generated_tokens == len(ids)
    text = "".join(piece.text for piece in pieces)
    assert text == model.tokenizer.decode(ids).rstrip("\ufffd")


def test_stops_at_a_stop_token(model: Llava) -> None:
    ids = iter([20, 21, *model.stop, 22])
    items = model.items("Tell")
    pieces = model.generate(items, lambda _: next(ids), max_tokens=9, encode_seconds=0)  # type: ignore[arg-type]
    assert [piece.timings.generated_tokens for piece in pieces][-1] == 2
    assert items[-2:] == [20, 21]


def test_answers_up_to_the_end_of_the_context(tiny_bundle: Path) -> None:
    model = load(tiny_bundle, context=40)
    timings = list(model.stream("Tell", max_tokens=500, temperature=3.0, seed=0))[-1].timings
    assert timings.prompt_tokens + timings.generated_tokens == 41  # the last one is not read


def test_a_prompt_that_does_not_fit(model: Llava, photo: Image.Image) -> None:
    with pytest.raises(PromptError, match=r"takes 1,306 tokens \(36 of .* holds 256 with"):
        model.stream("word " * 250, photo)


@pytest.mark.parametrize(
    ("prompt", "count", "said"),
    [("<image>", 0, "1 <image> places for 0"), ("<image> <image>", 1, "2 .* for 1"), ("", 2, "0")],
)
def test_places_and_pictures_must_match(
    model: Llava, photo: Image.Image, prompt: str, count: int, said: str
) -> None:
    with pytest.raises(PromptError, match=said):
        model.stream(prompt, [photo] * count)


def test_an_answer_that_another_interrupts(model: Llava) -> None:
    first = model.stream("Tell", temperature=3.0, seed=0)
    next(first)
    list(model.stream("Other", max_tokens=2))
    with pytest.raises(UsageError, match="Another answer was begun"):
        list(first)


def test_refusals(model: Llava, tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="does not exist"):
        model.stream("Tell", tmp_path / "gone.jpg")
    with pytest.raises(UsageError, match="max_tokens"):
        model.stream("Tell", max_tokens=0)
    with pytest.raises(UsageError, match="auto, cpu"):
        load(tiny_bundle, device="tpu")
    for context in (1, 257):
        with pytest.raises(UsageError, match="give 2 to 256"):
            load(tiny_bundle, context=context)
    with pytest.raises(BundleError, match="make demo"):
        load()


def test_what_was_loaded(tiny_bundle: Path) -> None:
    model = load(str(tiny_bundle))
    assert model.path == tiny_bundle
    assert model.device.name == "cpu"


def test_logits_are_those_of_transformers_with_a_picture_in_the_middle(
    tiny_checkpoint: Path, tiny_bundle_fp32: Path, photo: Image.Image
) -> None:
    model = load(tiny_bundle_fp32)
    judge = LlavaForConditionalGeneration.from_pretrained(tiny_checkpoint).eval()
    items = model.items("before <image> after", photo)
    image_token = judge.config.image_token_id
    ids = [image_token if isinstance(item, tuple) else item for item in items]
    pixels = torch.from_numpy(preprocess(photo, model.config.vision.image))[None]
    with torch.no_grad():
        expected = judge(input_ids=torch.tensor([ids]), pixel_values=pixels).logits[0, -1]
    logits, prefilled = model.context.fill(items)
    assert prefilled == len(ids)
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-3)
