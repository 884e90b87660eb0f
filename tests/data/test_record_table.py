"""Tables hold the records that load_records reads, in a file; weights repeat them."""

import json
import pickle
from collections import Counter
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from tar_shards import picture_bytes, write_shard
from tiny_training import write_records

from llava_edge.data import record_table as table_module
from llava_edge.data.record_table import RecordTable, open_table
from llava_edge.data.records import RecordSource, load_records
from llava_edge.errors import RecordError


@pytest.fixture
def source(tmp_path: Path) -> RecordSource:
    write_records(tmp_path)
    return RecordSource((tmp_path / "records.json",), tmp_path / "pictures")


def opened(source: RecordSource, seed: int = 0) -> RecordTable:
    return open_table([source], source.images.parent / "cache", seed)


def weighted(source: RecordSource, weight: float) -> RecordSource:
    return RecordSource(source.records, source.images, source.limit, weight)


def test_a_table_holds_the_same_records(source: RecordSource) -> None:
    table, records = opened(source), load_records(source)
    assert [table[position] for position in range(len(table))] == records
    assert table.pictures.tolist() == [len(record.images) for record in records]
    assert table.characters.tolist() == [
        sum(len(message.text) for message in record.messages) for record in records
    ]
    assert table.where(2) == f"Record 3, line 1 of {source.records[0]}"


def test_members_of_shards_come_back(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "0.tar", {"a.png": picture_bytes("red"), "a.txt": b"Red."})
    source = RecordSource((shard,), tmp_path)
    table = open_table([source], tmp_path / "cache", 0)
    assert [table[0]] == load_records(source)
    assert table.where(0) == f"Record 1 of {shard}"


def test_a_weight_repeats_and_draws(source: RecordSource) -> None:
    table = opened(weighted(source, 2.5))
    counts = Counter(table[position].id for position in range(len(table)))
    assert len(table) == 7 * 2 + round(7 / 2) and set(counts.values()) == {2, 3}
    assert np.array_equal(table.rows, opened(weighted(source, 2.5)).rows)
    drawn = {tuple(opened(weighted(source, 2.5), seed).rows) for seed in range(5)}
    assert len(drawn) > 1


def test_a_weight_must_leave_a_record(source: RecordSource) -> None:
    with pytest.raises(RecordError, match=r"weight of 0\.01"):
        opened(RecordSource(source.records, source.images, weight=0.01))


def test_sources_stand_in_order_and_a_limit_keeps_the_first(source: RecordSource) -> None:
    limited = RecordSource(source.records, source.images, limit=2)
    table = open_table([weighted(source, 0.5), limited], source.images.parent / "cache", 3)
    assert len(table) == 4 + 2
    assert [table[4], table[5]] == load_records(limited)
    assert len(table.distinct()) == 7 + 2


def test_the_fingerprint_is_of_content_and_weights(source: RecordSource, tmp_path: Path) -> None:
    same = opened(source).fingerprint
    elsewhere = copytree(tmp_path, tmp_path.with_name(tmp_path.name + "-copy"))
    moved = RecordSource((elsewhere / "records.json",), elsewhere / "pictures")
    assert opened(moved).fingerprint == same
    assert opened(source, seed=1).fingerprint == same  # nothing is drawn
    assert opened(weighted(source, 2)).fingerprint != same
    text = source.records[0].read_text()
    source.records[0].write_text(text.replace("the table", "the couch", 1))
    assert opened(source).fingerprint != same


def test_building_says_nothing_but_to_the_log(
    source: RecordSource, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "llava_edge"):
        opened(source)
        opened(source)
    assert [record.name for record in caplog.records] == ["llava_edge"]
    assert str(source.records[0]) in caplog.text
    assert capsys.readouterr() == ("", "")


def test_a_table_is_built_once(source: RecordSource, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(source)
    monkeypatch.setattr(table_module, "read_entries", None)  # whoever reads again fails
    assert opened(weighted(source, 3))[7 * 2] == first[0]


def test_a_record_is_decoded_once(source: RecordSource, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.dumps(sample) for sample in json.loads(source.records[0].read_text())]
    path = source.records[0].with_suffix(".jsonl")
    path.write_text("\n".join(lines))
    decoded: list[str] = []
    decode = json.loads
    monkeypatch.setattr(json, "loads", lambda text: decoded.append(text) or decode(text))
    table = opened(RecordSource((path,), source.images))
    for _ in range(2):
        assert [table[position].id for position in range(len(table))]
    assert [text for text in decoded if "conversations" in text] == lines


def test_a_table_goes_to_another_process(source: RecordSource) -> None:
    table = opened(source)
    data = pickle.dumps(table)
    assert len(data) < 20_000 and pickle.loads(data)[3] == table[3]


def test_a_bad_record_waits_until_it_is_asked_for(source: RecordSource) -> None:
    lines = [json.dumps(sample) for sample in json.loads(source.records[0].read_text())]
    lines[1] = '{"id": '
    path = source.records[0].with_suffix(".jsonl")
    path.write_text("\n".join(lines))
    table = opened(RecordSource((path,), source.images))
    assert table[0] and table[2]
    with pytest.raises(RecordError, match=r"Record 2, line 2 of .*not JSON"):
        table[1]


def test_a_bad_record_is_told_as_it_was_when_the_table_was_built(source: RecordSource) -> None:
    samples = json.loads(source.records[0].read_text())
    samples[1]["conversations"].pop()
    samples[2] |= {"id": "half \ud83d"}
    samples[3] |= {"image": "half \ud83d"}
    samples[4] |= {"objects": [{"name": "cat", "box": [0, 0, 1, 10**400]}]}
    source.records[0].write_text(json.dumps(samples))
    table = opened(source)
    assert table.characters[1] > 0 and table.pictures[1] == 1
    for position, problem in ((1, "turns out of order"), *((n, "not a LLaVA") for n in (2, 3, 4))):
        with pytest.raises(RecordError, match=rf"^Record {position + 1}, line 1 of ") as caught:
            table[position]
        assert caught.value.problem.startswith(problem)
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_a_file_that_breaks_leaves_nothing(source: RecordSource) -> None:
    source.records[0].write_text(source.records[0].read_text()[:-30])
    with pytest.raises(RecordError, match="break at line 1"):
        opened(source)
    assert not list((source.images.parent / "cache").iterdir())


def test_pictures_are_listed_once_in_the_order_of_their_records(
    source: RecordSource, tmp_path: Path
) -> None:
    members = {"a.png": picture_bytes("red"), "a.txt": b"Red.", "b.png": picture_bytes("blue")}
    shard = write_shard(tmp_path / "0.tar", {**members, "b.txt": b"Blue."})
    sources = [weighted(source, 2), RecordSource((shard,), tmp_path), source]
    table = open_table(sources, tmp_path / "cache", 0)
    for positions in (np.arange(len(table)), np.array([15, 14, 2, 6])):
        rows = sorted(set(table.rows[positions]))
        apart = table.distinct()
        expected = dict.fromkeys(p for row in rows for p in apart.entry(row).pictures)
        assert table.distinct_pictures(positions) == list(expected)
