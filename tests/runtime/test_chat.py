"""A conversation continues its KV cache, and says what reading all of it anew would say."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from runtime_calls import answer_anew

from llava_edge import (
    Chat,
    Llava,
    Options,
    PictureError,
    PromptError,
    StateError,
    UsageError,
    load,
)

TURNS = ["What is in the picture?", "Is there a dog?", "Describe the cat."]
SHORT = Options(max_tokens=6)


def read_anew(chat: Chat, options: Options) -> list[int]:
    """The answer to a conversation's last turn, without anything in the KV cache."""
    bundle, turns = chat._bundle, chat._turns
    asked = [*turns[:-1], replace(turns[-1], answer=[])]
    answer, _ = answer_anew(bundle, bundle.items(asked, chat.system), options)
    return answer.ids


def assert_read_anew(chat: Chat, options: Options) -> None:
    """What was said last is said without the KV cache too.

    In a quantized model an answer's own tokens, which were read one by one, are rounded otherwise
    when they are read together, so that another word may win a near tie.
    """
    if chat._bundle.config.quantization.method == "none":
        assert read_anew(chat, options) == chat._turns[-1].answer


def test_continued_equals_read_anew(model: Llava, photo: Image.Image) -> None:
    chat, options = model.chat(), Options(max_tokens=10)
    before = 0
    for turn, picture in zip(TURNS, [photo, None, photo.rotate(180)], strict=True):
        *_, last = chat.stream(turn, picture, options)
        assert_read_anew(chat, options)
        timings = last.timings
        assert timings.cached_tokens >= before - 1  # the last id of an answer was not read
        before = timings.prompt_tokens + timings.generated_tokens


def test_turns_are_rendered_as_in_training(model: Llava, photo: Image.Image) -> None:
    from llava_edge.core.prompt import Text, WrittenMessage, render

    chat, options = model.chat(), Options(max_tokens=6, temperature=0.5, seed=3)
    answers = [chat.answer(turn, options=options) for turn in TURNS]
    roles = [
        message
        for turn, answer in zip(TURNS, answers, strict=True)
        for message in (WrittenMessage("user", turn), WrittenMessage("assistant", answer))
    ]
    text = "".join(
        model.tokenizer._tokenizer.decode(list(segment.ids), skip_special_tokens=False)
        for segment in render(roles[:-1], model.config.prompt, model.tokenizer)
        if isinstance(segment, Text)
    )
    ids = model.bundle.items(chat._turns, chat.system)
    said = model.tokenizer._tokenizer.decode(ids, skip_special_tokens=False)
    assert said.replace("\ufffd", "").startswith(text.replace("\ufffd", ""))


def test_a_format_may_end_answers_with_words(model: Llava) -> None:
    """As v0's ###: they are no part of the answer, and the next turn writes them anew."""
    options = Options(max_tokens=40, temperature=3.0, seed=1)
    whole = model.answer(TURNS[0], options=options)
    end = whole[10:13]
    prompt = replace(model.config.prompt, assistant_suffix=end, stop_strings=(end,))
    ending = replace(
        model.bundle,
        config=replace(model.config, prompt=prompt),
        vocabulary=replace(model.bundle.vocabulary, stop_strings=(end,)),
    )
    chat = Chat(ending)
    *pieces, last = chat.stream(TURNS[0], options=options)
    said = "".join(piece.text for piece in [*pieces, last])
    assert (said, last.finish) == (whole[: whole.index(end)], "stop")
    assert model.tokenizer.decode(chat._turns[0].answer) == said
    chat.answer(TURNS[1], options=SHORT)
    assert f"{said}{end}{prompt.turn_separator}user\n{TURNS[1]}" in model.tokenizer.decode(
        [item for item in ending.items(chat._turns) if isinstance(item, int)]
    )


def test_what_a_model_says_of_a_suffix_is_not_repeated(model: Llava) -> None:
    prompt = replace(model.config.prompt, assistant_suffix=" \n<|im_end|>")
    bundle = replace(model.bundle, config=replace(model.config, prompt=prompt))
    end = model.tokenizer.encode([(prompt.assistant_suffix, True)])
    assert len(end) > 2
    for said in range(len(end)):
        assert bundle.ended([7, *end[:said]]) == [7, *end]
    assert bundle.ended([]) == end


def test_conversations_beside_each_other_on_one_model(model: Llava) -> None:
    alone = model.chat()
    expected = [alone.answer(turn, options=SHORT) for turn in TURNS]
    first, second = model.chat(), model.chat()
    answers = []
    for turn in TURNS:
        *pieces, last = first.stream(turn, options=SHORT)
        answers.append("".join(piece.text for piece in [*pieces, last]))
        second.answer("Other words " + turn, options=SHORT)
        model.answer("And others", options=SHORT)
    assert answers == expected
    assert last.timings.cached_tokens > last.timings.prompt_tokens / 2  # nothing was read anew


def test_an_interrupted_answer_stays_and_the_chat_goes_on(model: Llava) -> None:
    chat = model.chat()
    pieces = chat.stream(TURNS[0], options=Options(temperature=2.0, seed=1))
    said = "".join(next(pieces).text for _ in range(3))
    pieces.close()
    assert model.tokenizer.decode(chat._turns[-1].answer).endswith(said)
    *_, last = chat.stream(TURNS[1], options=SHORT)
    assert last.timings.prefilled_tokens < last.timings.prompt_tokens
    assert_read_anew(chat, SHORT)


def test_two_turns_of_one_conversation_cannot_be_answered_at_once(model: Llava) -> None:
    chat, options = model.chat(), Options(temperature=3.0, seed=0)
    for prompt in ("Tell", "word " * 12):
        for taken in (1, 2, 3):  # pieces: before, while and after the prompt is read
            first = chat.stream(prompt, options=options)
            for _ in range(taken):
                next(first)
            chat.answer("Other", options=SHORT)
            said = len(chat.messages)
            with pytest.raises(UsageError, match="Another turn of this conversation was begun"):
                list(first)
            assert len(chat.messages) == said
            chat.reset()
    assert chat.answer("And?", options=SHORT) is not None


def test_a_turn_that_fails_leaves_no_trace(
    model: Llava, photo: Image.Image, tmp_path: Path
) -> None:
    chat = model.chat()
    chat.answer(TURNS[0], options=SHORT)
    before = list(chat._turns)
    with pytest.raises(PictureError):
        chat.answer("And this?", tmp_path / "gone.png")
    with pytest.raises(PromptError):
        chat.stream("<image>?", [photo, photo])
    never_read = chat.stream("Never read")
    cancelled = chat.stream("word " * 15)
    cancelled.cancel()
    assert [piece.finish for piece in cancelled] == ["cancelled"]
    assert chat._turns == before
    del never_read


def test_a_full_context_is_said_and_reset_helps(tiny_bundle: Path) -> None:
    chat, options = load(tiny_bundle, context=90).chat(), Options(max_tokens=8)
    with pytest.raises(PromptError, match=r"holds 90 with the answer; .* new conversation"):
        for _ in range(20):
            chat.answer(TURNS[1], options=options)
    chat.reset()
    expected = load(tiny_bundle).answer(TURNS[1], options=options)
    assert chat.answer(TURNS[1], options=options) == expected


def test_shifting_forgets_the_oldest_turns_whole(tiny_bundle: Path, photo: Image.Image) -> None:
    model = load(tiny_bundle, context=130)
    chat, options = model.chat(), Options(max_tokens=8, when_full="shift")
    for number in range(12):
        chat.answer(f"{number} {TURNS[1]}", photo if number == 5 else None, options)
        assert read_anew(chat, options) == chat._turns[-1].answer
    assert 0 < chat.forgotten == 12 - len(chat._turns)
    assert chat.messages[0].content[-1] == f"{chat.forgotten} {TURNS[1]}"


def test_an_answer_that_fills_the_context_goes_on(tiny_bundle: Path) -> None:
    model = load(tiny_bundle, context=100)
    chat, options = model.chat(), Options(max_tokens=6, temperature=3.0, seed=0)
    chat.answer(TURNS[0], options=options)
    chat.answer(TURNS[1], options=options)
    (stop,) = model.bundle.vocabulary.stop
    endless = Options(max_tokens=60, when_full="shift", logit_bias={stop: -1000.0})
    *_, last = chat.stream(TURNS[2], options=endless)
    assert (last.finish, last.timings.generated_tokens) == ("length", 60)
    assert chat.forgotten == 2 and len(chat._turns) == 1
    chat.reset()
    *_, last = chat.stream("word", options=replace(endless, max_tokens=500, when_full="error"))
    assert last.finish == "context"


def test_a_saved_conversation_goes_on(model: Llava, photo: Image.Image, tmp_path: Path) -> None:
    chat, options = model.chat(), Options(max_tokens=9)
    chat.answer(TURNS[0], photo, options)
    chat.save(tmp_path / "chat.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["chat.npz"]
    again = load(model.path).load_chat(tmp_path / "chat.npz")
    *_, last = again.stream(TURNS[1], options=options)
    chat.answer(TURNS[1], options=options)
    assert again._turns == chat._turns
    assert last.timings.cached_tokens > last.timings.image_tokens


def test_system_words_stand_before_all_turns(model: Llava, tmp_path: Path) -> None:
    chat = model.chat(system="Be <|im_end|> brief.")
    expected = model.answer(TURNS[0], options=SHORT, system=chat.system)
    assert chat.answer(TURNS[0], options=SHORT) == expected
    chat.answer(TURNS[1], options=SHORT)
    assert_read_anew(chat, SHORT)
    chat.save(tmp_path / "chat.npz")
    again = model.load_chat(tmp_path / "chat.npz")
    for one in (chat, again):
        ids = model.bundle.items(one._turns, one.system)
        written = model.tokenizer._tokenizer.decode(ids, skip_special_tokens=False)
        assert written.startswith(
            "<|im_start|>system\nBe <|im_end|> brief.<|im_end|>\n<|im_start|>"
        )
        assert ids.count(model.tokenizer.token_id("<|im_end|>")) == 4  # the last answer may go on
    again.reset()
    assert again.answer(TURNS[0], options=SHORT) == expected


def test_system_words_stay_when_turns_are_forgotten(model: Llava) -> None:
    chat = model.chat(system="Be brief.")
    options = Options(max_tokens=20, when_full="shift")
    while not chat.forgotten:
        chat.answer("word " * 30, options=options)
        assert_read_anew(chat, options)
    written = model.tokenizer.decode(model.bundle.items(chat._turns, chat.system))
    assert written.startswith("system\nBe brief.\nuser\n")


def test_system_words_that_cannot_stand(model: Llava) -> None:
    with pytest.raises(UsageError, match="system is 7; give a string"):
        model.chat(system=7)  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="The system has half a character at place 1"):
        model.answer("Hi", system="a\ud83d")
    prompt = replace(model.config.prompt, system_prefix=None)
    bundle = replace(model.bundle, config=replace(model.config, prompt=prompt))
    with pytest.raises(PromptError, match="no place for system words"):
        Chat(bundle, "Be brief.")


def test_an_empty_conversation_can_be_saved(model: Llava, tmp_path: Path) -> None:
    model.chat().save(tmp_path / "chat.npz")
    again = model.load_chat(tmp_path / "chat.npz")
    expected = model.chat().answer(TURNS[0], options=SHORT)
    assert again.answer(TURNS[0], options=SHORT) == expected


def test_what_cannot_be_gone_on_with(
    tiny_bundle: Path, tiny_bundle_fp32: Path, tmp_path: Path
) -> None:
    model, path = load(tiny_bundle), tmp_path / "chat.npz"
    chat = model.chat()
    chat.answer("word " * 10, options=SHORT)
    chat.save(path)
    with pytest.raises(StateError, match="saved with another bundle"):
        load(tiny_bundle_fp32).load_chat(path)
    with pytest.raises(StateError, match="of this model 20; load the bundle with a larger"):
        load(tiny_bundle, context=20).load_chat(path)
    with pytest.raises(StateError, match="cannot be read"):
        model.load_chat(tmp_path / "gone.npz")
    with pytest.raises(StateError, match="cannot be written"):
        chat.save(tmp_path / "missing" / "chat.npz")
    content = dict(np.load(path))
    about = {**json.loads(str(content["about"])), "version": 99}
    np.savez(tmp_path / "later.npz", **{**content, "about": np.array(json.dumps(about))})
    with pytest.raises(StateError, match="saved in version 99, and this program reads 3"):
        model.load_chat(tmp_path / "later.npz")
    for size in (0, 10, len(path.read_bytes()) // 2):
        (tmp_path / "cut.npz").write_bytes(path.read_bytes()[:size])
        with pytest.raises(StateError, match="no saved conversation, or a damaged one"):
            model.load_chat(tmp_path / "cut.npz")
