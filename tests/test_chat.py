"""A conversation continues its KV cache, and says what reading all of it anew would say."""

from pathlib import Path

import pytest
from PIL import Image

from llava_edge import Llava, PictureError, PromptError, load
from llava_edge.sampling import Sampler

TURNS = ["What is in the picture?", "Is there a dog?", "Describe the cat."]


def read_anew(model: Llava, items: list[object], max_tokens: int) -> list[object]:
    """The greedy continuation of a conversation, without anything in the KV cache."""
    copy = list(items)
    model.context.clear()
    list(model.generate(copy, Sampler(), max_tokens=max_tokens, encode_seconds=0))
    return copy


def test_continued_equals_read_anew(model: Llava, photo: Image.Image) -> None:
    pictures = [photo, None, photo.rotate(180)]
    chat = model.chat()
    for turn, picture in zip(TURNS, pictures, strict=True):
        before = len(chat._items)
        *_, last = chat.stream(turn, picture, max_tokens=10)
        prompt = chat._items[: last.timings.prompt_tokens]
        if before:  # only the last id of an answer, its end and the new turn
            assert last.timings.prefilled_tokens == last.timings.prompt_tokens - before + 1
        kept = list(chat._items)
        continued = model.context._items[:]
        assert read_anew(model, prompt, 10) == kept
        model.context.fill(continued)  # as if nothing had been asked between


def test_turns_are_rendered_as_in_training(model: Llava, photo: Image.Image) -> None:
    from llava_edge.prompt import Message, Text, render

    chat = model.chat()
    answers = [chat.answer(turn, max_tokens=6, temperature=0.5, seed=3) for turn in TURNS]
    roles = [
        message
        for turn, answer in zip(TURNS, answers, strict=True)
        for message in (Message("user", turn), Message("assistant", answer))
    ]
    text = "".join(
        model.tokenizer._tokenizer.decode(list(segment.ids), skip_special_tokens=False)
        for segment in render(roles[:-1], model.config.prompt, model.tokenizer)
        if isinstance(segment, Text)
    )
    said = model.tokenizer._tokenizer.decode(chat._items, skip_special_tokens=False)
    assert said.replace("\ufffd", "").startswith(text.replace("\ufffd", ""))


def test_conversations_take_turns_on_one_model(model: Llava) -> None:
    alone = model.chat()
    expected = [alone.answer(turn, max_tokens=5) for turn in TURNS]
    first, second = model.chat(), model.chat()
    answers = []
    for turn in TURNS:
        answers.append(first.answer(turn, max_tokens=5))
        second.answer("Other words " + turn, max_tokens=5)
        model.answer("And others", max_tokens=3)
    assert answers == expected


def test_an_interrupted_answer_stays_and_the_chat_goes_on(model: Llava) -> None:
    chat = model.chat()
    pieces = chat.stream(TURNS[0], temperature=2.0, seed=1)
    said = next(pieces).text + next(pieces).text
    pieces.close()  # type: ignore[attr-defined]
    assert model.tokenizer.decode([i for i in chat._items if isinstance(i, int)]).endswith(said)
    *_, last = chat.stream(TURNS[1], max_tokens=5)
    assert last.timings.prefilled_tokens < last.timings.prompt_tokens
    items = chat._items[: last.timings.prompt_tokens]
    assert read_anew(model, items, 5) == chat._items


def test_a_turn_that_fails_leaves_no_trace(model: Llava, tmp_path: Path) -> None:
    chat = model.chat()
    chat.answer(TURNS[0], max_tokens=4)
    before = list(chat._items)
    with pytest.raises(PictureError):
        chat.stream("And this?", tmp_path / "gone.png")
    with pytest.raises(PromptError):
        chat.stream("<image>?")
    never_read = chat.stream("Never read")
    assert chat._items == before
    del never_read


def test_a_full_context_is_said_and_reset_helps(tiny_bundle: Path) -> None:
    chat = load(tiny_bundle, context=90).chat()
    with pytest.raises(PromptError, match=r"holds 90 with the answer; .* new conversation"):
        for _ in range(20):
            chat.answer(TURNS[1], max_tokens=8)
    chat.reset()
    assert chat.answer(TURNS[1], max_tokens=8) == load(tiny_bundle).answer(TURNS[1], max_tokens=8)
