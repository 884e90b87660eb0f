"""Samples in the shapes that people have become records, or say why they cannot."""

import io
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny import tokenizer
from transformers import PreTrainedTokenizerFast

from llava_edge.core.prompt import CHATML, IMAGE, Text, WrittenMessage, render
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.data.picture_folder import PictureFolder
from llava_edge.data.record_types import BadRecord, Record
from llava_edge.data.sample import counted, read_sample, unread_keys

ASKED = [WrittenMessage("user", "<image>\nWhat?"), WrittenMessage("assistant", "x")]
PLAIN = [WrittenMessage("user", "What?"), WrittenMessage("assistant", "x")]


def png(colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (5, 3), colour).save(file, "PNG")
    return file.getvalue()


def conversation(question: str = "<image>\nWhat?", answer: str = "x") -> list[dict[str, Any]]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def messages(question: Any = "<image>\nWhat?", answer: Any = "x") -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def read(sample: Any) -> Record | BadRecord:
    return read_sample(sample, PictureFolder(Path("pictures")), (), 7)


NAMED = Path("pictures/p.png")
TERSE = WrittenMessage("system", "You are terse.")
WITH_PICTURE: dict[str, tuple[dict[str, Any], list[WrittenMessage]]] = {
    "LLaVA": ({"image": "p.png", "conversations": conversation()}, ASKED),
    "role and content": ({"image": "p.png", "conversations": messages()}, ASKED),
    "user and assistant": (
        {
            "image": "p.png",
            "conversations": [
                {"from": "user", "value": "<image>\nWhat?"},
                {"from": "chatgpt", "value": "x"},
            ],
        },
        ASKED,
    ),
    "images": ({"images": ["p.png"], "conversations": conversation()}, ASKED),
    "the same in both": (
        {"image": "p.png", "images": ["p.png"], "conversations": conversation()},
        ASKED,
    ),
    "messages and images": ({"messages": messages(), "images": [{"path": "p.png"}]}, ASKED),
    "bytes that cannot be read, and a name": (
        {"image": {"bytes": "..", "path": "p.png"}, "conversations": conversation()},
        ASKED,
    ),
    "an id that is null": (
        {"id": None, "image": "p.png", "video": None, "conversations": conversation()},
        ASKED,
    ),
    "parts": (
        {
            "messages": messages(
                [{"type": "image", "path": "p.png"}, {"type": "text", "text": "What?"}],
                [{"type": "text", "text": "x"}],
            )
        },
        ASKED,
    ),
    "parts that say where": (
        {
            "messages": messages([{"type": "text", "text": "What?"}, {"type": "image"}]),
            "image": "p.png",
        },
        [WrittenMessage("user", "What?\n<image>"), ASKED[1]],
    ),
    "OpenAI's parts": (
        {
            "messages": messages(
                [
                    {"type": "image_url", "image_url": {"url": "p.png", "detail": "low"}},
                    {"type": "input_text", "text": "What?"},
                ]
            )
        },
        ASKED,
    ),
    "a system turn": (
        {
            "image": "p.png",
            "conversations": [{"from": "system", "value": "You are terse."}, *conversation()],
        },
        [TERSE, *ASKED],
    ),
    "a system key": (
        {"image": "p.png", "conversations": conversation(), "system": "You are terse."},
        [TERSE, *ASKED],
    ),
    "both": (
        {
            "image": "p.png",
            "messages": [{"role": "system", "content": "You are terse."}, *messages()],
            "system": "You are terse.",
        },
        [TERSE, *ASKED],
    ),
    "an empty system key": (
        {"image": "p.png", "conversations": conversation(), "system": ""},
        ASKED,
    ),
}


@pytest.mark.parametrize("name", WITH_PICTURE)
def test_shapes_that_name_a_picture(name: str) -> None:
    sample, expected = WITH_PICTURE[name]
    assert read(sample) == Record("7", (NAMED,), tuple(expected))
    assert read(sample | {"id": "own"}) == Record("own", (NAMED,), tuple(expected))
    assert unread_keys(sample) == []


@pytest.mark.parametrize(
    "value",
    [
        png(),
        {"bytes": png(), "path": "p.png"},
        {"bytes": b64encode(png()).decode(), "path": None},
        {"bytes": urlsafe_b64encode(png()).decode().rstrip("=")},
        "data:image/png;base64," + b64encode(png()).decode(),
    ],
)
def test_shapes_that_hold_a_picture(value: Any) -> None:
    for sample in (
        {"image": value, "conversations": conversation()},
        {"images": [value], "messages": messages()},
        {
            "messages": messages(
                [{"type": "image", "image": value}, {"type": "text", "text": "What?"}]
            )
        },
    ):
        assert read(sample) == Record("7", (png(),), tuple(ASKED))


def test_answers_that_are_left_out_of_the_loss() -> None:
    asked = conversation("And?", "y")
    for key, value in (("loss", False), ("train", False), ("weight", 0)):
        turns = [*conversation("What?"), asked[0], asked[1] | {key: value}]
        record = read({"conversations": turns})
        assert isinstance(record, Record)
        assert [message.learned for message in record.messages] == [True, True, True, False]
        ids = Tokenizer(tokenizer())
        learned = [
            segment
            for segment in render(record.messages, CHATML, ids)
            if isinstance(segment, Text) and segment.learned
        ]
        assert len(learned) == 1 and ids.decode(learned[0].ids) == "x"


REFUSED: dict[str, tuple[Any, str, str]] = {
    "a list": ([], "not a LLaVA sample", "it needs conversations"),
    "no turns": ({}, "not a LLaVA sample", "conversations"),
    "turns that are no list": ({"messages": "Hi"}, "not a LLaVA sample", "messages is no list"),
    "a number said": ({"messages": messages(7)}, "not a LLaVA sample", "int"),
    "two conversations": (
        {"messages": messages("a"), "conversations": conversation("a")},
        "two conversations",
        "has both conversations and messages",
    ),
    "a picture in an answer": (
        {"image": "p.png", "conversations": conversation("What?", "<image> x")},
        "<image> in an answer",
        "no picture can stand",
    ),
    "a place in another case": (
        {"image": "p.png", "conversations": conversation("<Image>\nWhat?")},
        "<image> written otherwise",
        "says <Image>, but <image>",
    ),
    "a numbered place": (
        {"image": "p.png", "conversations": conversation("<image_1>\nWhat?")},
        "<image> written otherwise",
        "says <image_1>",
    ),
    "a video's place": (
        {"conversations": conversation("<video>\nWhat?")},
        "<image> written otherwise",
        "says <video>",
    ),
    "a video": (
        {"video": "v.mp4", "conversations": conversation("<video>\nWhat?")},
        "video or sound",
        "holds video",
    ),
    "a part that is sound": (
        {"messages": messages([{"type": "input_audio", "input_audio": {}}])},
        "video or sound",
        "'input_audio'",
    ),
    "loss false": (
        {"conversations": conversation("a"), "loss": False},
        "nothing to learn",
        "leaves all its answers out",
    ),
    "no answer learned": (
        {"messages": [messages("a")[0], messages("a")[1] | {"loss": False}]},
        "nothing to learn",
        "leaves all its answers out",
    ),
    "half a weight": (
        {"messages": [messages("a")[0], messages("a")[1] | {"weight": 0.5}]},
        "weights",
        "gives 0.5 as weight",
    ),
    "a tool's turn": (
        {"messages": [*messages("a"), {"role": "tool", "content": "7"}]},
        "tool calls",
        "a turn of a tool",
    ),
    "a tool call": (
        {"messages": [messages("a")[0], messages("a")[1] | {"tool_calls": [{}]}]},
        "tool calls",
        "holds tool_calls",
    ),
    "thoughts": (
        {"messages": [messages("a")[0], messages("a")[1] | {"reasoning_content": "So."}]},
        "reasoning",
        "holds reasoning_content",
    ),
    "another role": (
        {"messages": [{"role": "narrator", "content": "a"}]},
        "unknown role",
        "'narrator'",
    ),
    "preferences": (
        {"prompt": "a", "chosen": [1], "rejected": [2]},
        "preference data",
        "holds chosen",
    ),
    "a late system turn": (
        {"messages": [*messages("a"), {"role": "system", "content": "b"}]},
        "turns out of order",
        "does not alternate",
    ),
    "two systems": (
        {"messages": [{"role": "system", "content": "b"}, *messages("a")], "system": "c"},
        "turns out of order",
        "does not alternate",
    ),
    "a remote picture": (
        {"image": "https://x.org/a.png", "conversations": conversation()},
        "remote picture",
        "nothing is fetched",
    ),
    "system words that are no words": (
        {"system": ["Be brief."], "messages": messages("a")},
        "not a LLaVA sample",
        "list",
    ),
    "bytes that are none": (
        {"image": {"bytes": ".."}, "conversations": conversation()},
        "picture bytes",
        "not base64",
    ),
    "pictures that differ": (
        {"image": "a.png", "images": ["b.png"], "conversations": conversation()},
        "pictures named twice",
        "both image and images",
    ),
    "pictures in two places": (
        {"messages": messages([{"type": "image", "path": "a.png"}]), "images": ["b.png"]},
        "pictures named twice",
        "others beside them",
    ),
    "a place in a part of words": (
        {"messages": messages([{"type": "image", "path": "a"}, {"type": "text", "text": IMAGE}])},
        "<image> count",
        "in a part of words",
    ),
    "half a surrogate pair": (
        {"messages": messages("\ud83d")},
        "not a LLaVA sample",
        "surrogates not allowed",
    ),
    "an empty list of pictures": (
        {"images": [None], "messages": messages()},
        "not a LLaVA",
        "None",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_a_record_says_why(name: str) -> None:
    sample, problem, words = REFUSED[name]
    found = read(sample)
    assert isinstance(found, BadRecord)
    assert found.problem.startswith(problem) and words in found.sentence
    assert found.sentence.endswith(".") and "\n" not in found.sentence
    counted(sample, PictureFolder(Path("pictures")), ())  # never an error


def test_keys_that_nothing_is_done_with_are_named() -> None:
    turns = [messages("a")[0] | {"timestamp": 3}, messages("a")[1]]
    assert unread_keys({"source": "x", "license": "y", "messages": turns}) == [
        "conversations.timestamp",
        "license",
        "source",
    ]
    assert unread_keys([1]) == unread_keys(None) == []


TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% for c in m.content %}{% if c.type == 'image' %}<image>\n{% else %}{{ c.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
)


def test_parts_are_read_as_transformers_templates_write_them() -> None:
    def part(text: str | None) -> dict[str, str]:
        return {"type": "image", "path": "p"} if text is None else {"type": "text", "text": text}

    said = [("system", ["Be brief."]), ("user", [None, None, "What", " is it?"])]
    said += [("assistant", ["A cat."]), ("user", [None, "And?"]), ("assistant", ["A dog."])]
    turns = [{"role": role, "content": [part(text) for text in parts]} for role, parts in said]
    record = read({"messages": turns})
    assert isinstance(record, Record) and len(record.images) == 3
    words = Tokenizer(tokenizer())
    image = words.token_id(IMAGE)
    assert image is not None
    ours = [
        id
        for segment in render(record.messages, CHATML, words)
        for id in (segment.ids if isinstance(segment, Text) else [image])
    ]
    theirs = PreTrainedTokenizerFast(tokenizer_object=tokenizer()).apply_chat_template(
        turns, chat_template=TEMPLATE, tokenize=True, return_dict=False
    )
    assert ours == theirs[: len(ours)] and len(theirs) - len(ours) <= 1  # their last line's end
