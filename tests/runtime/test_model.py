"""Llava's public calls: the same answers however they are asked for, and refusals in a sentence."""

import logging
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from runtime_calls import answer_anew, items_of
from tiny import Tiny, write_llava
from transformers import LlavaForConditionalGeneration

from llava_edge import (
    BundleError,
    Llava,
    LlavaEdgeError,
    Options,
    PictureError,
    PromptError,
    UsageError,
    load,
)
from llava_edge.core.picture import preprocess
from llava_edge.export.export import export
from llava_edge.runtime import expected_memory
from llava_edge.runtime.devices.cuda_driver import GpuMemory
from llava_edge.runtime.devices.device import CUDA
from llava_edge.runtime.prefix_cache import PrefixCache

QUESTION = "What is in the picture?"
SHORT = Options(max_tokens=8)


def logits(model: Llava, prompt: str, *images: Image.Image) -> list[float]:
    """After a prompt that is read anew."""
    cache = PrefixCache(model.decoder)
    list(cache.prefill(items_of(model, prompt, images)))
    return list(cache.logits)


def test_answer_is_the_joined_stream(model: Llava, photo: Image.Image) -> None:
    options = Options(max_tokens=20)
    pieces = list(model.stream(QUESTION, photo, options))
    assert "".join(piece.text for piece in pieces) == model.answer(QUESTION, photo, options)
    assert len(pieces) > 2
    assert [piece.finish for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert pieces[-1].finish in ("length", "stop")


def test_the_same_whatever_was_asked_before(model: Llava, photo: Image.Image) -> None:
    options = Options(max_tokens=30)
    first = model.answer(QUESTION, photo, options)
    for other in ("Something else", QUESTION + " now", "What"):
        model.answer(other, photo, Options(max_tokens=5))
        assert model.answer(QUESTION, photo, options) == first


def test_timings(model: Llava, photo: Image.Image) -> None:
    model.answer("Without a picture", options=Options(max_tokens=1))
    *_, last = model.stream(QUESTION, photo, Options(max_tokens=9))
    timings = last.timings
    assert timings.image_tokens == model.config.vision.image_tokens
    assert timings.cached_tokens < timings.prefilled_tokens
    assert timings.prefilled_tokens + timings.cached_tokens == timings.prompt_tokens
    assert 1 <= timings.generated_tokens <= 9
    assert 0 < timings.prefill_seconds < timings.ttft_seconds
    assert timings.encode_seconds < timings.ttft_seconds


def test_a_second_question_about_a_picture_reads_the_question_only(
    model: Llava, photo: Image.Image, photo_file: Path
) -> None:
    model.answer(QUESTION, photo, SHORT)
    *_, second = model.stream("Is there a dog?", photo_file, SHORT)
    assert second.timings.cached_tokens > second.timings.image_tokens
    alone = load(model.path).answer("Is there a dog?", photo_file, SHORT)
    assert model.answer("Is there a dog?", photo_file, SHORT) == alone


def test_the_picture_matters_and_so_does_its_place(model: Llava, photo: Image.Image) -> None:
    other = photo.rotate(180)
    assert logits(model, QUESTION, photo) == logits(model, f"<image>\n{QUESTION}", photo)
    assert logits(model, QUESTION, photo) != logits(model, QUESTION, other)
    assert logits(model, QUESTION, photo) != logits(model, f"{QUESTION}<image>", photo)
    two = "<image> or <image>?"
    assert logits(model, two, photo, other) != logits(model, two, other, photo)


def test_every_way_to_give_a_picture(model: Llava, photo: Image.Image, photo_file: Path) -> None:
    embeddings = model.encode_image(photo)
    sources = [photo, photo_file, str(photo_file), photo_file.read_bytes(), embeddings, [photo]]
    assert len({model.answer(QUESTION, source, SHORT) for source in sources}) == 1


def test_fewer_image_tokens(model: Llava, photo: Image.Image) -> None:
    *_, last = model.stream(QUESTION, photo, Options(max_tokens=4, image_tokens=7))
    assert last.timings.image_tokens == 7
    whole, some = model.encode_image(photo), model.encode_image(photo, 7)
    places = [np.flatnonzero((whole.rows == row).all(1))[0] for row in some.rows]
    assert places == sorted(places)
    assert model.encode_image(photo, len(whole.rows)) == whole
    assert model.encode_image(photo, 7) is some  # chosen once
    with pytest.raises(UsageError, match="image_tokens is 37, but the picture has 36"):
        model.answer(QUESTION, photo, Options(image_tokens=37))


def test_a_long_prompt_tells_how_far_it_is_read(model: Llava) -> None:
    pieces = list(model.stream("word " * 30, options=SHORT))
    read = [piece.timings.prefilled_tokens for piece in pieces if not piece.text]
    assert read[:2] == [0, model.decoder.chunk]
    assert pieces[0].timings.prompt_tokens == pieces[-1].timings.prompt_tokens > read[1]
    assert pieces[0].timings.generated_tokens == 0


def test_seeds_repeat(model: Llava) -> None:
    def drawn(seed: int) -> str:
        return model.answer("Tell", options=Options(max_tokens=20, temperature=2.0, seed=seed))

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_logprobs_are_those_of_the_tokens(model: Llava) -> None:
    options = Options(max_tokens=12, temperature=2.0, seed=4, logprobs=2)
    pieces = list(model.stream("Tell", options=options))
    tokens = [token for piece in pieces for token in piece.logprobs]
    ids = [token.id for token in tokens if token.id not in model.bundle.vocabulary.stop]
    assert len(ids) == pieces[-1].timings.generated_tokens
    assert model.tokenizer.decode(ids).startswith(pieces[0].text + pieces[1].text)
    for token in tokens:
        assert token.logprob <= token.likeliest[0][1] <= 0
        assert len(token.likeliest) == 2
    first = np.array(logits(model, "Tell"))
    expected = first[tokens[0].id] - np.log(np.exp(first).sum())
    assert tokens[0].logprob == pytest.approx(expected, abs=1e-3)


def test_stop_strings_end_an_answer(model: Llava) -> None:
    options = {"max_tokens": 40, "temperature": 3.0, "seed": 1}
    text = model.answer("Tell", options=Options(**options))  # type: ignore[arg-type]
    stop = text[10:13]
    *_, last = model.stream("Tell", options=Options(stop=(stop,), **options))  # type: ignore[arg-type]
    assert last.finish == "stop"
    found = model.answer("Tell", options=Options(stop=(stop,), **options))  # type: ignore[arg-type]
    assert found == text[: text.index(stop)]


def test_pieces_join_to_the_text_of_the_ids(model: Llava) -> None:
    options = Options(max_tokens=40, temperature=3.0, seed=1)
    answer, pieces = answer_anew(model.bundle, items_of(model, "Tell"), options)
    assert pieces[-1].timings.generated_tokens == len(answer.ids)
    text = "".join(piece.text for piece in pieces)
    assert text == model.tokenizer.decode(answer.ids).rstrip("\ufffd")


def test_v0_ends_answers_with_words(tmp_path: Path) -> None:
    write_llava(tmp_path, Tiny(prompt="vicuna_v1"))
    export(tmp_path, tmp_path / "bundle", prompt="v0")
    model = load(tmp_path / "bundle")
    assert model.bundle.vocabulary.stop_strings == ("###",)
    assert model.bundle.vocabulary.stop == {model.tokenizer.token_id("</s>")}


def test_stops_at_a_stop_token(model: Llava) -> None:
    (stop,) = model.bundle.vocabulary.stop
    options = Options(max_tokens=9, logit_bias={stop: 1000.0})
    *_, last = model.stream("Tell", options=options)
    assert (last.finish, last.timings.generated_tokens) == ("stop", 0)


@pytest.mark.parametrize("seed", range(4))
def test_choices_are_kept_to(model: Llava, photo: Image.Image, seed: int) -> None:
    options = Options(choices=("red apple", "cat"), temperature=2.0, seed=seed)
    *_, last = model.stream(QUESTION, photo, options)
    assert last.finish == "stop"
    assert model.answer(QUESTION, photo, options) in options.choices


def test_answers_up_to_the_end_of_the_context(tiny_bundle: Path) -> None:
    model = load(tiny_bundle, context=40)
    options = Options(max_tokens=500, temperature=3.0, seed=0)
    last = list(model.stream("Tell", options=options))[-1]
    timings = last.timings
    assert timings.prompt_tokens + timings.generated_tokens == 41  # the last one is not read
    assert last.finish == "context"


def test_a_prompt_that_does_not_fit(model: Llava, photo: Image.Image) -> None:
    with pytest.raises(PromptError, match=r"takes 1,306 tokens \(36 of .* holds 256 with"):
        model.answer("word " * 250, photo)


def test_more_pictures_than_fit_are_refused_before_they_are_looked_at(model: Llava) -> None:
    with pytest.raises(PromptError, match=r"8 pictures take 288 tokens .* holds 256; give fewer"):
        model.answer("<image>" * 8, [Path("not even there.png")] * 8)


@pytest.mark.parametrize(
    ("prompt", "count", "said"),
    [("<image> <image>", 1, "2 <image> places for 1"), ("<image>", 2, "1 .* for 2")],
)
def test_places_and_pictures_must_match(
    model: Llava, photo: Image.Image, prompt: str, count: int, said: str
) -> None:
    with pytest.raises(PromptError, match=said):
        model.stream(prompt, [photo] * count)


def test_answers_in_turns_do_not_disturb_one_another(model: Llava, photo: Image.Image) -> None:
    options = Options(max_tokens=12, temperature=3.0, seed=0)
    alone = [model.answer("Tell", options=options), model.answer(QUESTION, photo, options)]
    together = [model.stream("Tell", options=options), model.stream(QUESTION, photo, options)]
    pieces = list(zip_longest(*together))
    said = ["".join(piece.text for piece in one if piece) for one in zip(*pieces, strict=True)]
    assert said == alone


def test_refusals_leave_the_model_as_it_was(
    model: Llava, tiny_bundle: Path, tmp_path: Path
) -> None:
    expected = model.answer("Tell", options=SHORT)
    with pytest.raises(PictureError, match="does not exist"):
        model.answer("Tell", tmp_path / "gone.jpg")
    with pytest.raises(UsageError, match="max_tokens"):
        model.stream("Tell", options=Options(max_tokens=0))
    with pytest.raises(UsageError, match="the id 293, but the model has 293 tokens"):
        model.answer("Tell", options=Options(logit_bias={293: 1.0}))
    with pytest.raises(UsageError, match="The regex '\\(' cannot be used"):
        model.answer("Tell", options=Options(regex="("))
    assert model.answer("Tell", options=SHORT) == expected
    with pytest.raises(UsageError, match="auto, cpu"):
        load(tiny_bundle, device="tpu")
    for context in (1, 257):
        with pytest.raises(UsageError, match="give 2 to 256"):
            load(tiny_bundle, context=context)
    with pytest.raises(BundleError, match="make demo"):
        load()


def test_the_context_is_made_to_fit_the_memory(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = expected_memory.expected_memory(load(tiny_bundle).config)
    monkeypatch.setattr(expected_memory, "LEAST_CONTEXT", 100)

    def free(tokens: int) -> None:
        room = expected.loaded + tokens * expected.kv_cache_per_token
        monkeypatch.setattr(expected_memory, "available_memory", lambda: room)

    free(256)
    assert load(tiny_bundle).notes == ()
    free(120)
    model = load(tiny_bundle)
    assert model.decoder.context == 120
    assert model.notes[0].startswith("The context is 120 tokens, since 0.1 GB")
    assert "about 120 tokens of the 200" in load(tiny_bundle, context=200).notes[0]
    free(99)
    with pytest.raises(LlavaEdgeError, match=r"takes about 0\.1 GB, .* are free; end other"):
        load(tiny_bundle)


def test_the_context_is_made_to_fit_a_gpu(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load(tiny_bundle).config
    expected = expected_memory.expected_memory(config, CUDA)
    assert expected.weights < expected.loaded
    assert expected.kv_cache_per_token < expected_memory.expected_memory(config).kv_cache_per_token
    monkeypatch.setattr(expected_memory, "LEAST_CONTEXT", 100)
    room = expected.loaded + 130 * expected.kv_cache_per_token
    monkeypatch.setattr(expected_memory, "gpu_memory", lambda: GpuMemory(room, 2 * room))
    assert expected_memory.fitting_context(config, 120, CUDA) == (120, "")
    size, note = expected_memory.fitting_context(config, None, CUDA)
    assert size == 130 and note.endswith("GB of memory are free on the device cuda.")
    with pytest.raises(LlavaEdgeError, match=r"on the device cuda; .* with at most 130"):
        expected_memory.fitting_context(config, 200, CUDA)
    less = room - 20 * expected.kv_cache_per_token
    assert expected_memory.fitting_context(config, None, CUDA, limit=less)[0] == 110
    with pytest.raises(LlavaEdgeError, match="are free on the device cuda; end other programs"):
        expected_memory.fitting_context(config, None, CUDA, limit=10**6)
    monkeypatch.setattr(expected_memory, "gpu_memory", lambda: None)
    assert expected_memory.fitting_context(config, None, CUDA) == (256, "")


def test_what_was_loaded(tiny_bundle: Path) -> None:
    model = load(str(tiny_bundle))
    assert model.path == tiny_bundle
    assert model.device.name == "cpu"


def test_what_was_loaded_is_logged_and_not_printed(
    tiny_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(expected_memory, "LEAST_CONTEXT", 10)
    expected = expected_memory.expected_memory(load(tiny_bundle).config)
    room = expected.loaded + 120 * expected.kv_cache_per_token
    monkeypatch.setattr(expected_memory, "available_memory", lambda: room)
    with caplog.at_level(logging.INFO, logger="llava_edge"):
        model = load(tiny_bundle)
        model.answer("Tell", options=SHORT)
    loaded, *notes = [record.getMessage() for record in caplog.records]
    assert str(tiny_bundle) in loaded and " on cpu in " in loaded and " hold 120 tokens" in loaded
    assert notes == list(model.notes) and len(notes) == 1
    assert {(record.name, record.levelname) for record in caplog.records} == {
        ("llava_edge", "INFO")
    }
    assert capfd.readouterr() == ("", "")


def test_logits_are_those_of_transformers_with_a_picture_in_the_middle(
    tiny_checkpoint: Path, tiny_bundle_fp32: Path, photo: Image.Image
) -> None:
    model = load(tiny_bundle_fp32)
    judge = LlavaForConditionalGeneration.from_pretrained(tiny_checkpoint).eval()
    prompt = "before <image> after"
    image_token = judge.config.image_token_id
    ids = [
        image_token if isinstance(item, tuple) else item for item in items_of(model, prompt, photo)
    ]
    pixels = torch.from_numpy(preprocess(photo, model.config.vision.image))[None]
    with torch.no_grad():
        expected = judge(input_ids=torch.tensor([ids]), pixel_values=pixels).logits[0, -1]
    np.testing.assert_allclose(logits(model, prompt, photo), expected.numpy(), atol=1e-3)


def test_progress_of_loading(tiny_bundle: Path) -> None:
    told: list[tuple[str, float]] = []
    load(tiny_bundle, progress=lambda stage, done: told.append((stage, done)))
    assert list(dict.fromkeys(stage for stage, _ in told)) == ["files", "decoder", "vision"]
    for stage in ("files", "decoder", "vision"):
        fractions = [done for name, done in told if name == stage]
        assert fractions == sorted(fractions) and fractions[-1] == 1
        assert 0 <= fractions[0] < 1

    def refuse(stage: str, done: float) -> None:
        raise InterruptedError(stage)

    with pytest.raises(InterruptedError, match="files"):
        load(tiny_bundle, progress=refuse)
