"""LLaVA JSON is read as it is published; a bad record is named."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_training import write_records

from llava_edge.errors import RecordError
from llava_edge.records import Data, load_records


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
    "missing picture": ({"image": "none.png"}, r"none\.png"),
    "no place for the picture": ({"conversations": turns("Hello", "Hi")}, "says <image> 0 times"),
    "two places": ({"conversations": turns("<image><image>", "Hi")}, "says <image> 2 times"),
    "no answer": ({"conversations": turns("<image>")}, "does not alternate"),
    "two questions": (
        {"conversations": [*turns("<image>"), *turns("And?", "Yes.")]},
        "does not alternate",
    ),
    "a picture in the answer": ({"conversations": turns("Hi", "<image>")}, "not a LLaVA sample"),
    "no words": ({"conversations": turns("<image>", None)}, "not a LLaVA sample"),
    "half a box": ({"objects": [{"name": "cat", "box": [0, 1]}]}, "not a LLaVA sample"),
    "another role": ({"conversations": [{"from": "system", "value": ""}]}, "not a LLaVA sample"),
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
