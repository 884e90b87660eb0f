"""Every kind of problem is found where it is, and training is told which records are usable."""

import json
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from tar_shards import picture_bytes
from tiny import tokenizer
from tiny_training import write_records

from llava_edge.core import picture
from llava_edge.core.bundle_config import ImageConfig
from llava_edge.core.prompt import CHATML
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.data.record_table import RecordTable, open_table
from llava_edge.data.records import RecordSource
from llava_edge.errors import TrainingError
from llava_edge.train.inputs import check_records as check_module
from llava_edge.train.inputs.check_records import FAULTS, check, usable_rows
from llava_edge.train.inputs.labels import Encoding
from llava_edge.train.inputs.problems import kept
from llava_edge.train.inputs.record_encoder import Encoder
from llava_edge.train.recipe import Recipe, Stage

IMAGE = ImageConfig(size=0, mean=(0, 0, 0), std=(1, 1, 1), mode="square")  # of no tower


def turns(*values: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[i % 2], "value": value} for i, value in enumerate(values)]


GOOD: dict[str, Any] = {"id": "x", "image": "0.png", "conversations": turns("<image>?", "Yes.")}
BAD: dict[str, dict[str, Any]] = {
    "not a LLaVA sample": {"conversations": None},
    "turns out of order": {"conversations": turns("<image>")},
    "<image> count": {"conversations": turns("Hi", "Hi.")},
    "missing picture": {"image": "none.png"},
    "corrupt picture": {"image": "cut.jpg"},
    "oversized picture": {"image": "large.png"},
    "empty answer": {"conversations": turns("<image>", "\n")},
    "too long": {"conversations": turns("<image>?", "Yes. " * 40)},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One good record, one of each kind of problem, a broken line and a good record."""
    monkeypatch.setattr(picture, "MAX_PIXELS", 50 * 50)
    write_records(tmp_path)
    jpeg = picture_bytes("red", form="JPEG")
    (tmp_path / "pictures" / "cut.jpg").write_bytes(jpeg[: len(jpeg) - 90])
    Image.new("RGB", (51, 50)).save(tmp_path / "pictures" / "large.png")
    lines = [json.dumps(sample) for sample in (GOOD, *(GOOD | change for change in BAD.values()))]
    (tmp_path / "bad.jsonl").write_text("\n".join([*lines, '{"id"', json.dumps(GOOD)]))
    tokenizer().save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def table_of(folder: Path, weight: float = 1.0) -> RecordTable:
    source = RecordSource((folder / "bad.jsonl",), folder / "pictures", weight=weight)
    return open_table([source], folder / "cache", 0)


def encoder(image_tokens: int, max_tokens: int) -> Encoder:
    words = Tokenizer(tokenizer())
    id = words.token_id("<image>")
    assert id is not None
    return Encoder(Encoding(words, CHATML, IMAGE, image_tokens, id), max_tokens)


def recipe(bad_records: Literal["stop", "skip", "refuse"]) -> Recipe:
    stage = Stage((RecordSource((Path("x"),), Path("x")),), projector_lr=1e-3)
    return Recipe(Path("out"), "tower", "words", stage1=stage, bad_records=bad_records)


EXPECTED = {problem: [row] for row, problem in enumerate([*BAD, "not JSON"], 1)}


def test_each_problem_is_found_at_its_row(folder: Path) -> None:
    report = check(table_of(folder), encoder(image_tokens=7, max_tokens=90), workers=1)
    assert report.records == len(BAD) + 3
    assert report.problems == EXPECTED
    assert EXPECTED["too long"][0] not in report.unusable


def test_image_tokens_count(folder: Path) -> None:
    short = encoder(image_tokens=7, max_tokens=50)
    assert check(table_of(folder), short, workers=1).problems["too long"] == EXPECTED["too long"]
    many = encoder(image_tokens=60, max_tokens=50)
    report = check(table_of(folder), many, workers=1)
    assert 0 in report.problems["no answer within max_tokens"]
    assert 0 in report.unusable


def test_processes_find_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_module, "SHARE", 3)
    monkeypatch.setattr(picture, "MAX_PIXELS", 178_000_000)  # as in processes of its own
    alone = check(table_of(folder), workers=1)
    assert check(table_of(folder), workers=2) == alone


def test_bad_records_are_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = table_of(folder, weight=2.0)
    usable = usable_rows(table, recipe("skip"), workers=1, console=Console(stderr=True))
    rows = len(BAD) + 3
    too_long = EXPECTED["too long"][0]
    assert usable.tolist() == [row + n * rows for n in (0, 1) for row in (0, too_long, rows - 1)]
    assert "8 of 11 records cannot be used" in " ".join(capsys.readouterr().err.split())
    assert np.array_equal(usable_rows(table, recipe("stop")), np.arange(2 * rows))


def test_bad_records_are_refused(folder: Path) -> None:
    with pytest.raises(TrainingError, match=r"8 of 11 records .*1 missing picture.*data check"):
        usable_rows(table_of(folder), recipe("refuse"), workers=1)


def test_what_was_found_is_not_looked_for_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long, short = encoder(image_tokens=7, max_tokens=90), encoder(image_tokens=7, max_tokens=25)
    first = usable_rows(table_of(folder), recipe("skip"), long, workers=1)
    monkeypatch.setattr(check_module, "load_picture", None)  # whoever looks at a picture fails
    with pytest.raises(TrainingError, match=r"3 no answer within max_tokens.*so none is left"):
        usable_rows(table_of(folder), recipe("skip"), short, workers=1)
    monkeypatch.setattr(check_module, "_find", None)
    assert np.array_equal(usable_rows(table_of(folder), recipe("skip"), long), first)


def test_another_vocabulary_counts_other_tokens(folder: Path) -> None:
    one, other = tokenizer(), tokenizer()
    other.add_tokens(["Yes."])
    keys = {Encoder(Encoding(Tokenizer(t), CHATML, IMAGE, 7, 3), 50).key for t in (one, other)}
    assert len(keys) == 2


def test_what_was_mended_is_seen(folder: Path) -> None:
    lines = [GOOD, GOOD | {"image": "late.png"}]
    (folder / "bad.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(TrainingError, match="1 missing picture"):
        usable_rows(table_of(folder), recipe("refuse"), workers=1)
    Image.new("RGB", (9, 9)).save(folder / "pictures" / "late.png")
    assert len(usable_rows(table_of(folder), recipe("refuse"), workers=1)) == 2


def test_nothing_usable_is_refused(folder: Path) -> None:
    (folder / "bad.jsonl").write_text("{}\n{}")
    with pytest.raises(TrainingError, match="so none is left"):
        usable_rows(table_of(folder), recipe("skip"), workers=1)


def test_problems_of_several_sources_are_kept_apart(folder: Path) -> None:
    good = RecordSource((folder / "records.json",), folder / "pictures")
    bad = RecordSource((folder / "bad.jsonl",), folder / "pictures")
    both = open_table([good, bad], folder / "cache", 0)
    report = check(both, workers=1)
    alone = kept(open_table([bad], folder / "cache", 0), FAULTS)
    assert alone is not None
    assert set(report.unusable) == {7 + row for row in chain.from_iterable(alone.values())}
    assert kept(open_table([good], folder / "cache", 0), FAULTS) == {}
