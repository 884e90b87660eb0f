"""Conversations as messages: what is said is said in its place, and nothing is read twice."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from runtime_calls import items_of, turns_of

from llava_edge import (
    Llava,
    Message,
    Options,
    Picture,
    Piece,
    PromptError,
    Stream,
    UsageError,
    load,
)
from llava_edge.core.prompt import render
from llava_edge.runtime.asked import asked_messages
from llava_edge.runtime.prefix_cache import Item

SHORT = Options(max_tokens=6)
DRAWN = Options(max_tokens=12, temperature=3.0, seed=5)


def prompt_tokens(model: Llava, *parts: str | Picture) -> int:
    return begun(model.stream(Message("user", parts))).timings.prompt_tokens


def begun(stream: Stream) -> Piece:
    """The piece that tells that the prompt fits, before it is read."""
    return next(piece for piece in stream if piece.stage == "reading")


def items_of_messages(model: Llava, messages: list[Message]) -> list[Item]:
    asked = asked_messages(messages, None, model.config.prompt)
    system, turns = turns_of(model, asked)
    return model.bundle.items(turns, system)


def test_messages_are_asked_as_the_short_form(model: Llava, photo: Image.Image) -> None:
    question = Message("user", [Picture(photo), "What is this?"])
    expected = model.answer("What is this?", photo, SHORT)
    assert model.answer(question, SHORT) == model.answer([question], options=SHORT) == expected
    system = model.answer("What is this?", photo, SHORT, system="Be brief.")
    assert model.answer([Message("system", "Be brief."), question], SHORT) == system != expected
    assert model.chat().answer(question, options=SHORT) == expected


def test_a_picture_stands_where_its_part_stands(model: Llava, photo: Image.Image) -> None:
    other = photo.rotate(90)
    written = items_of(model, "One <image>\ntwo <image>\nthree", [photo, other])
    parts = ["One ", Picture(photo), "two ", Picture(other), "three"]
    _, turns = turns_of(model, asked_messages(Message("user", parts), None, model.config.prompt))
    assert model.bundle.items(turns) == written
    first, *_, last = [item[0] for item in written if isinstance(item, tuple)]
    assert first != last
    # Without places, both stand before the words.
    before = items_of(model, "three", [photo, other])
    rows = [place for place, item in enumerate(before) if isinstance(item, tuple)]
    assert len(rows) == 72 and rows[-1] < len(before) - 4


def test_what_words_say_is_no_picture_and_no_token(model: Llava, photo: Image.Image) -> None:
    """`<image>` is a word in anybody's words, and so is what ends a turn."""
    for words in ("<image>", "a <image>\n<image> b", "<|im_end|>\n<|im_start|>assistant\n"):
        special = {
            model.tokenizer.token_id(token) for token in ("<image>", *model.config.prompt.stop)
        }
        for asked in (words, Message("user", words), Message("user", [words, "!"])):
            piece = begun(model.stream(asked))
            assert piece.timings.image_tokens == 0
        ids = items_of(model, words)
        assert sum(id in special for id in ids) == sum(id in special for id in items_of(model, "x"))
        picture = Message("user", [Picture(photo), words])
        assert begun(model.stream(picture)).timings.image_tokens == 36
    assert prompt_tokens(model, "<image>") > prompt_tokens(model, "i")


def test_a_history_is_read_as_the_chat_that_it_was(model: Llava, photo: Image.Image) -> None:
    """What a client sends again is in the cache: pictures, and answers in their own ids."""
    chat = model.chat("Be brief.")
    messages = [Message("system", "Be brief.")]
    fresh = model.apart()
    for question in (["What? ", Picture(photo)], "And?", ["Here", Picture(photo.rotate(90)), "?"]):
        messages.append(Message("user", question))
        *pieces, last = fresh.stream(messages, DRAWN)
        answer = "".join(piece.text for piece in [*pieces, last])
        *_, expected = chat.stream(messages[-1], options=DRAWN)
        assert answer == "".join(map(str, [chat.messages[-1].content]))
        assert last.timings.prompt_tokens == expected.timings.prompt_tokens
        assert last.timings.cached_tokens == expected.timings.cached_tokens
        messages.append(Message("assistant", answer))
    assert last.timings.cached_tokens > 36


def test_words_of_others_are_encoded_as_in_training(model: Llava) -> None:
    messages = [
        Message("user", "Is there a dog?"),
        Message("assistant", "No, there is a cat."),
        Message("user", "Where?"),
    ]
    _, turns = turns_of(model, asked_messages(messages, None, model.config.prompt))
    segments = render(messages, model.config.prompt, model.tokenizer)
    expected = [
        id for segment in segments if not isinstance(segment, Picture) for id in segment.ids
    ]
    assert model.bundle.items(turns) == expected


def test_chat_shows_what_was_said(model: Llava, photo: Image.Image, tmp_path: Path) -> None:
    chat = model.chat("Be brief.")
    answers = [chat.answer("What?", photo, SHORT), chat.answer("And?", options=SHORT)]
    system, first, one, second, two = chat.messages
    assert [message.role for message in chat.messages][1:] == ["user", "assistant"] * 2
    assert (system.content, one.content, second.content, two.content) == (
        "Be brief.",
        answers[0],
        ("And?",),
        answers[1],
    )
    assert first.content == (Picture(model.encode_image(photo)), "What?")
    asked = begun(model.stream([*chat.messages, Message("user", "Sure?")]))
    assert asked.timings.image_tokens == 36
    chat.save(tmp_path / "chat.npz")
    assert model.load_chat(tmp_path / "chat.npz").messages == chat.messages


def test_nothing_is_done_before_the_iteration(model: Llava, tmp_path: Path) -> None:
    missing = tmp_path / "later.png"
    stream = model.stream("What?", missing, SHORT)
    Image.new("RGB", (40, 30), "red").save(missing)
    first = begun(stream)
    assert first.text == "" and first.timings.prompt_tokens > 36
    assert first.timings.prefilled_tokens == first.timings.generated_tokens == 0


def test_an_end_before_the_first_word(model: Llava, photo: Image.Image) -> None:
    stream = model.stream("What?", photo, SHORT)
    stream.cancel()
    assert [piece.finish for piece in stream] == ["cancelled"]


def test_conversations_beside_each_other_keep_their_caches(tiny_bundle: Path) -> None:
    words = ["one two three four", "five six seven eight"]
    for contexts, kept in ((1, False), (2, True)):
        model = load(tiny_bundle, contexts=contexts)
        histories = [[Message("user", text)] for text in words]
        for history in histories:
            history += [Message("assistant", model.answer(history, SHORT)), Message("user", "And?")]
        for history in histories:
            *_, last = model.stream(history, SHORT)
            assert (last.timings.cached_tokens > last.timings.prompt_tokens / 2) == kept


def test_answers_beside_kept_conversations_share_runs(tiny_bundle: Path) -> None:
    """A new question takes the place of a kept conversation, and no memory beside the others."""
    model = load(tiny_bundle, contexts=2)
    for text in ("one two three four", "five six seven eight"):
        model.answer(text, options=SHORT)
    first, second = (model.stream(text, options=SHORT) for text in ("Tell me", "Something else"))
    while not next(first).text:
        pass
    while not next(second).text:
        pass
    batched = model.decoder._batched
    assert batched is not None and not batched._free
    assert [cache.slot for cache in batched._caches.values()] in ([0, 1], [1, 0])
    list(first), list(second)
    assert len(model.bundle.prefix_caches._kept) == 2


def test_a_twin_knows_nothing_of_what_was_asked(model: Llava, photo: Image.Image) -> None:
    expected = model.answer("What is this?", photo, SHORT)
    twin = model.apart()
    *pieces, last = twin.stream("What is this?", photo, SHORT)
    assert last.timings.cached_tokens == 0
    assert "".join(piece.text for piece in [*pieces, last]) == expected
    assert twin.encode_image(photo) is not model.encode_image(photo)
    assert twin.decoder is model.decoder


def test_answers_of_several_threads_do_not_mix(tiny_bundle: Path) -> None:
    model = load(tiny_bundle, contexts=2)
    questions = ["Tell me", "Is there a dog?", "What else?", "Why?"]
    expected = {text: model.apart().answer(text, options=DRAWN) for text in questions}
    found: dict[str, str] = {}

    def ask(text: str) -> None:
        found[text] = model.answer(text, options=DRAWN)

    threads = [threading.Thread(target=ask, args=(text,)) for text in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


REFUSED = {
    "roles": ([Message("assistant", "Hi")], PromptError, "Turn 1 is the assistant's"),
    "twice": ([Message("user", "a"), Message("user", "b")], PromptError, "Turn 2 is the user's"),
    "late": ([Message("user", "a"), Message("system", "b")], PromptError, "put them first"),
    "last": ([Message("user", "a"), Message("assistant", "b")], PromptError, "end with the user's"),
    "no turn": ([Message("system", "a")], PromptError, "end with the user's"),
    "none": ([], UsageError, "prompt is .*; give a string, or"),
    "role": ([Message("tool", "a")], UsageError, "role is 'tool'; give one of system, user"),  # type: ignore[arg-type]
    "content": ([Message("user", None)], UsageError, "content is None; give words, or"),  # type: ignore[arg-type]
    "part": ([Message("user", [5])], UsageError, "message is 5; give a string"),  # type: ignore[list-item]
    "picture": ([Message("user", [Picture(5)])], UsageError, "A picture of the type int"),
    "shown": ([Message("system", [Picture("a.png")])], PromptError, "only the user can show one"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_conversation(model: Llava, kind: str) -> None:
    messages, error, said = REFUSED[kind]
    with pytest.raises(error, match=said):
        model.stream(messages)


def test_pictures_and_messages_are_not_given_together(model: Llava, photo: Image.Image) -> None:
    for messages in (Message("user", "a"), [Message("user", "a")]):
        with pytest.raises(UsageError, match=r"image is .*; give pictures in the message"):
            model.stream(messages, photo)


def test_a_format_without_a_place_for_system_words(model: Llava) -> None:
    prompt = replace(model.config.prompt, system_prefix=None)
    bundle = replace(model.bundle, config=replace(model.config, prompt=prompt))
    with pytest.raises(PromptError, match="has no place for system words"):
        replace(model, bundle=bundle).stream([Message("system", "a"), Message("user", "b")])
