"""Many questions: each answered as if it were alone, in order, once, whatever happens between."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from llava_edge import Llava, Message, Options, Picture, load
from llava_edge.ask.ask import Asked, ask
from llava_edge.ask.questions import read_questions
from llava_edge.data.records import Data
from llava_edge.errors import RecordError, UsageError

SHORT = Options(max_tokens=6)


@pytest.fixture(scope="module")
def model(tiny_bundle_fp32: Path) -> Llava:
    return load(tiny_bundle_fp32)


@pytest.fixture
def pictures(tmp_path: Path, photo: Image.Image) -> Path:
    (tmp_path / "pictures").mkdir()
    photo.save(tmp_path / "pictures" / "cat.png")
    photo.rotate(90).save(tmp_path / "pictures" / "turned.png")
    return tmp_path / "pictures"


def write(path: Path, samples: list[Any]) -> Path:
    lines = [sample if isinstance(sample, str) else json.dumps(sample) for sample in samples]
    path.write_text("\n".join(lines))
    return path


def asked(path: Path, pictures: Path, bundle: Path, **more: Any) -> tuple[Asked, list[Any]]:
    out = path.with_suffix(".answers.jsonl")
    options = {"options": SHORT, **more}
    found = ask([path], out, bundle=bundle, images=pictures, device="cpu", **options)
    return found, [json.loads(line) for line in out.read_text().splitlines()]


def test_each_question_is_answered_as_if_alone(
    tmp_path: Path, pictures: Path, tiny_bundle_fp32: Path, model: Llava
) -> None:
    cat, turned = Picture(pictures / "cat.png"), Picture(pictures / "turned.png")
    first, second = Message("user", [cat, "A cat?"]), Message("user", "Sure?")
    path = write(
        tmp_path / "questions.jsonl",
        [
            {"question_id": 7, "image": "cat.png", "text": "What is it?", "category": "any"},
            {"id": "b", "images": ["cat.png", "turned.png"], "prompt": "<image> or <image>?"},
            {"question": "No picture?", "system": "Be brief."},
            {
                "id": "c",
                "image": "cat.png",
                "conversations": [
                    {"from": "human", "value": "<image>\nA cat?"},
                    {"from": "gpt", "value": "This is never read."},
                    {"from": "human", "value": "Sure?"},
                ],
            },
            {"messages": [{"role": "user", "content": [{"type": "image", "image": "cat.png"}]}]},
        ],
    )
    found, rows = asked(path, pictures, tiny_bundle_fp32)
    assert (found.answered, found.before, found.failed) == (5, 0, 0)
    assert [row["id"] for row in rows] == [7, "b", 3, "c", 5]
    one = model.answer(first, SHORT)
    alone = [
        model.answer("What is it?", cat.source, SHORT),
        model.answer(Message("user", [cat, " or ", turned, "?"]), SHORT),
        model.answer("No picture?", options=SHORT, system="Be brief."),
        model.answer([first, Message("assistant", one), second], SHORT),
        model.answer(Message("user", [cat]), SHORT),
    ]
    turns = rows[3]["conversation"]
    assert [turn["answer"] for turn in turns] == [one, alone[3]]
    assert [rows[0]["answer"], rows[1]["answer"], rows[2]["answer"]] == alone[:3]
    assert rows[4]["conversation"][0]["answer"] == alone[4]
    assert [turn["prompt"] for turn in turns] == ["<image>\nA cat?", "Sure?"]
    assert (
        found.tokens
        == sum(row.get("answer_tokens", 0) for row in [*rows, *turns])
        + (rows[4]["conversation"][0]["answer_tokens"])
    )


def test_what_cannot_be_asked_has_a_row_that_says_why(
    tmp_path: Path, pictures: Path, tiny_bundle: Path
) -> None:
    path = write(
        tmp_path / "questions.jsonl",
        [
            {"id": 1, "image": "gone.png", "text": "What?"},
            "not json",
            "[1]",
            {"id": 4},
            {"id": 5, "image": "cat.png", "text": "<image> or <image>?"},
            {"id": 6, "video": "a.mp4", "messages": [{"role": "user", "content": "What?"}]},
            {"id": 7, "text": "word " * 300},
            {"id": 8, "text": "What?"},
        ],
    )
    found, rows = asked(path, pictures, tiny_bundle)
    assert (found.answered, found.failed) == (1, 7)
    reasons = ["gone.png does not exist", "not JSON", "", "no text under prompt", "1 pictures"]
    for row, said in zip(rows, [*reasons, "video", "takes"], strict=False):
        assert said in row["error"] and row["error"].endswith(".")
        assert "answer" not in row
    assert "answer" in rows[7]


def test_parquet_and_records_are_read_alike(tmp_path: Path, pictures: Path) -> None:
    bytes_ = (pictures / "cat.png").read_bytes()
    table = pa.table({"id": ["a"], "prompt": ["What?"], "image": [{"bytes": bytes_, "path": None}]})
    pq.write_table(table, tmp_path / "questions.parquet")
    (question,) = read_questions(Data((tmp_path / "questions.parquet",), pictures))
    assert (question.id, question.turns) == ("a", (("What?", (bytes_,)),))


def test_a_run_goes_on_where_it_stopped(tmp_path: Path, pictures: Path, tiny_bundle: Path) -> None:
    path = write(tmp_path / "questions.jsonl", [{"prompt": f"Number {n}?"} for n in range(9)])
    found, whole = asked(path, pictures, tiny_bundle)
    out = tmp_path / "questions.answers.jsonl"
    lines = out.read_text().splitlines(keepends=True)
    for kept in ("".join(lines[:4]), "".join(lines[:4]) + lines[4][:9], ""):
        out.write_text(kept)
        found, rows = asked(path, pictures, tiny_bundle)
        assert (found.before, found.answered) == (kept.count("\n"), 9 - kept.count("\n"))
        assert [row["id"] for row in rows] == [row["id"] for row in whole]
    found, again = asked(path, pictures, tiny_bundle)
    assert (found.before, found.answered) == (9, 0) and again == rows


def test_a_run_with_other_settings_is_refused(
    tmp_path: Path, pictures: Path, tiny_bundle: Path, tiny_bundle_fp32: Path
) -> None:
    path = write(tmp_path / "questions.jsonl", [{"prompt": "What?"}])
    _, before = asked(path, pictures, tiny_bundle)
    for change, said in (
        ({"options": Options(max_tokens=5)}, "options"),
        ({"system": "Be brief."}, "system"),
        ({"bundle": tiny_bundle_fp32}, "bundle"),
    ):
        with pytest.raises(UsageError, match=rf"other settings \({said}\); use the same"):
            asked(path, pictures, **{"bundle": tiny_bundle, **change})  # type: ignore[arg-type]
    found, rows = asked(path, pictures, tiny_bundle, options=Options(max_tokens=2), force=True)
    assert found.answered == 1 and rows[0]["answer_tokens"] == 2 < before[0]["answer_tokens"]
    mine = tmp_path / "mine.jsonl"
    mine.write_text("mine\n")
    with pytest.raises(UsageError, match="exists already"):
        ask([path], mine, bundle=tiny_bundle, device="cpu")
    assert mine.read_text() == "mine\n"


def test_no_questions_and_no_place_for_answers(tmp_path: Path, tiny_bundle: Path) -> None:
    empty = write(tmp_path / "empty.jsonl", [])
    with pytest.raises(RecordError, match="holds no questions"):
        ask([empty], tmp_path / "out.jsonl", bundle=tiny_bundle)
    path = write(tmp_path / "questions.jsonl", [{"prompt": "What?"}])
    with pytest.raises(RecordError, match="cannot be written"):
        ask([path], tmp_path / "missing" / "out.jsonl", bundle=tiny_bundle, device="cpu")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_killed_goes_on(tmp_path: Path, tiny_bundle: Path, number: int) -> None:
    path = write(tmp_path / "questions.jsonl", [{"prompt": f"Number {n}?"} for n in range(400)])
    out = tmp_path / "answers.jsonl"
    command = [sys.executable, "-m", "llava_edge", "ask", path, "--out", out]
    command += ["--bundle", tiny_bundle, "--device", "cpu", "--set", "max_tokens=20"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    while not out.exists() or out.read_text().count("\n") < 20:
        assert process.poll() is None, process.stderr
        os.sched_yield()
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0 and "Traceback" not in said
    before = out.read_text().count("\n")
    assert 20 <= before < 400
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in rows] == list(range(1, 401))
    assert f"{before:,} were there before" in run.stderr
