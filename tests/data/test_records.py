"""LLaVA JSON is read as it is published; a bad record is named."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_training import write_records

from llava_edge.data.records import Data, load_records
from llava_edge.errors import RecordError


@pytest.fixture
def data(tmp_path: Path) -> Data:
    write_records(tmp_path)
    return Data(records=(tmp_path / "records.json",), images=tmp_path / "pictures")


def rewrite(data: Data, change: dict[str, Any]) -> None:
    path = data.records[0]
    samples = json.loads(path.read_text())
    samples[2] |= change
    path.write_text(json.dumps(samples))


def test_pictures_turns_and_boxes(data: Data) -> None:
    first, *_, last = load_records(data)
    assert first.images == (data.images / "0.png",)
    assert [message.role for message in first.messages] == ["user", "assistant"] * 2
    assert first.objects[0].name == "cat"
    assert last.images == ()


def test_a_limit_keeps_the_first(data: Data) -> None:
    limited = Data(data.records, data.images, limit=2)
    assert load_records(limited) == load_records(data)[:2]


def turns(*values: str | None) -> list[dict[str, str | None]]:
    return [
        {"from": ("human", "gpt")[index % 2], "value": value} for index, value in enumerate(values)
    ]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "half a surrogate pair": ({"conversations": turns("\ud83d", "Hi")}, "not a LLaVA sample"),
    "an image that is no name": ({"image": 7}, "not a LLaVA sample"),
    "one picture of two": (
        {"image": ["0.png", "1.png"], "conversations": turns("<image>", "Hi")},
        "names 2 pictures and says <image> 1 times",
    ),
    "missing picture": ({"image": "none.png"}, r"none\.png"),
    "no place for the picture": ({"conversations": turns("Hello", "Hi")}, "says <image> 0 times"),
    "two places": ({"conversations": turns("<image><image>", "Hi")}, "says <image> 2 times"),
    "no answer": ({"conversations": turns("<image>")}, "does not alternate"),
    "two questions": (
        {"conversations": [*turns("<image>"), *turns("And?", "Yes.")]},
        "does not alternate",
    ),
    "a picture in the answer": ({"conversations": turns("Hi", "<image>")}, "in an answer"),
    "no words": ({"conversations": turns("<image>", None)}, "not a LLaVA sample"),
    "half a box": ({"objects": [{"name": "cat", "box": [0, 1]}]}, "not a LLaVA sample"),
    "system words alone": (
        {"conversations": [{"from": "system", "value": ""}]},
        "does not alternate",
    ),
    "no turns": ({"conversations": None}, "not a LLaVA sample"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_a_bad_record_is_named(data: Data, change: dict[str, Any], message: str) -> None:
    rewrite(data, change)
    with pytest.raises(RecordError, match=f"Record 3, line 1 of .*{message}"):
        load_records(data)


def test_records_that_are_not_json(data: Data) -> None:
    data.records[0].write_text("[{")
    with pytest.raises(RecordError, match=r"records\.json break at line 1"):
        load_records(data)


def test_lines_say_the_same_as_a_list(data: Data) -> None:
    samples = json.loads(data.records[0].read_text())
    lines = data.records[0].with_name("records.jsonl")
    lines.write_text("\n".join(map(json.dumps, samples)) + "\n\n")
    assert load_records(Data((lines,), data.images)) == load_records(data)


def test_a_broken_line_is_named(data: Data) -> None:
    samples = json.loads(data.records[0].read_text())
    lines = data.records[0].with_name("records.jsonl")
    lines.write_text(f'{json.dumps(samples[0])}\n\n{{"id": \n{json.dumps(samples[1])}\n')
    with pytest.raises(RecordError, match=r"Record 2, line 3 of .*records\.jsonl is not JSON"):
        load_records(Data((lines,), data.images))


def test_several_pictures_over_the_turns(data: Data) -> None:
    conversations = turns("<image>\nWhat?", "A cat.", "And in <image>?", "A dog.")
    rewrite(data, {"image": ["1.png", "0.png"], "conversations": conversations})
    assert load_records(data)[2].images == (data.images / "1.png", data.images / "0.png")


def test_patterns_name_several_files(data: Data) -> None:
    folder = data.records[0].parent
    (folder / "more.json").write_text(data.records[0].read_text())
    found = load_records(Data((folder / "*.json",), data.images))
    assert found == load_records(data) * 2


def test_no_records_at_all(data: Data) -> None:
    data.records[0].write_text("[]")
    with pytest.raises(RecordError, match="holds no records"):
        load_records(data)
