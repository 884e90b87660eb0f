"""Samples are read out of every kind of file, as the library that owns the kind wrote it."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from llava_edge.core.picture import load_picture
from llava_edge.data.record_table import open_table
from llava_edge.data.records import Data, RecordSource, load_records
from llava_edge.errors import RecordError

COLOURS = ["red", "green", "blue", "white"]


def messages(colour: str) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": "<image>\nWhich colour?"},
        {"role": "assistant", "content": f"It is {colour}."},
    ]


def samples(folder: Path) -> list[dict[str, Any]]:
    """Samples whose pictures are files of the folder."""
    for colour in COLOURS:
        Image.new("RGB", (5, 3), colour).save(folder / f"{colour}.png")
    return [{"messages": messages(colour), "images": [f"{colour}.png"]} for colour in COLOURS]


def colours(files: Path, images: Path) -> list[str]:
    """What each record's answer and its picture say, by the table and without it."""
    table = open_table([RecordSource((files,), images)], images / "cache", 0)
    by_table = [table[position] for position in range(len(table))]
    for records in (by_table, load_records(Data((files,), images))):
        for record in records:
            shown = load_picture(record.images[0]).getpixel((0, 0))
            colour = record.messages[1].text.removeprefix("It is ").removesuffix(".")
            assert shown == Image.new("RGB", (1, 1), colour).getpixel((0, 0))
    return [record.messages[1].text for record in by_table]


EXPECTED = [f"It is {colour}." for colour in COLOURS]


@pytest.mark.parametrize("name", ["records.json.gz", "records.jsonl.gz", "records"])
def test_gzip(name: str, tmp_path: Path) -> None:
    found = samples(tmp_path)
    text = json.dumps(found) if ".json." in name else "\n".join(map(json.dumps, found))
    (tmp_path / name).write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.encode()))
    assert colours(tmp_path / name, tmp_path) == EXPECTED


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_other_encodings_are_refused_by_name(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "records.json"
    path.write_text(json.dumps(samples(tmp_path)), encoding=encoding)
    with pytest.raises(RecordError, match="are UTF-16 or UTF-32; save the file as UTF-8"):
        load_records(Data((path,), tmp_path))


def png(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (5, 3), colour).save(file, "PNG")
    return file.getvalue()


def dataset() -> datasets.Dataset:
    """Messages and pictures, which `datasets` holds as bytes."""
    features = datasets.Features(
        {
            "messages": [{"role": datasets.Value("string"), "content": datasets.Value("string")}],
            "images": datasets.List(datasets.Image()),
        }
    )
    pictures = [[Image.new("RGB", (5, 3), colour)] for colour in COLOURS]
    rows = {"messages": list(map(messages, COLOURS)), "images": pictures}
    return datasets.Dataset.from_dict(rows, features=features)


def test_what_datasets_writes(tmp_path: Path) -> None:
    saved = dataset()
    saved.to_parquet(tmp_path / "one.parquet")
    saved.save_to_disk(tmp_path / "saved", num_shards=2)
    saved.to_parquet(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet")
    for name in ("one.parquet", "saved", "hub"):
        assert colours(tmp_path / name, tmp_path) == EXPECTED, name


def test_a_selection_or_splits_are_refused(tmp_path: Path) -> None:
    dataset().select([2, 0]).save_to_disk(tmp_path / "selected")
    try:
        assert colours(tmp_path / "selected", tmp_path) == [EXPECTED[2], EXPECTED[0]]
    except RecordError as error:
        assert "flatten_indices()" in str(error)
    datasets.DatasetDict(train=dataset(), test=dataset()).save_to_disk(tmp_path / "splits")
    with pytest.raises(RecordError, match="holds the splits train, test; name the folder of one"):
        load_records(Data((tmp_path / "splits",), tmp_path))
    assert colours(tmp_path / "splits" / "test", tmp_path) == EXPECTED
    for split in ("train", "test"):
        dataset().to_parquet(tmp_path / "hub" / f"{split}-00000-of-00001.parquet")
    with pytest.raises(RecordError, match="holds the splits test, train; name the files of one"):
        load_records(Data((tmp_path / "hub",), tmp_path))
    assert colours(tmp_path / "hub" / "test-*", tmp_path) == EXPECTED
    (tmp_path / "selected" / "state.json").write_text("{}")
    with pytest.raises(RecordError, match="names no data files"):
        load_records(Data((tmp_path / "selected",), tmp_path))


def test_a_column_of_bytes_and_one_of_names(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    samples(tmp_path / "pictures")
    turns = pa.array(list(map(messages, COLOURS)))
    for name, column in (
        ("bytes", pa.array(list(map(png, COLOURS)), pa.binary())),
        ("names", pa.array([f"{colour}.png" for colour in COLOURS])),
    ):
        table = pa.table({"messages": turns, "image": column})
        parquet.write_table(table, tmp_path / f"{name}.parquet", row_group_size=3)
        assert colours(tmp_path / f"{name}.parquet", tmp_path / "pictures") == EXPECTED


def test_tables_that_differ_in_a_picture_are_not_the_same(tmp_path: Path) -> None:
    prints = set()
    for number, colour in enumerate(("red", "blue")):
        path = tmp_path / f"{number}.parquet"
        table = pa.table({"messages": [messages("red")], "image": pa.array([png(colour)])})
        parquet.write_table(table, path)
        source = RecordSource((path,), tmp_path)
        prints.add(open_table([source], tmp_path / "cache", 0).fingerprint)
    assert len(prints) == 2


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "broken.jsonl").write_bytes(gzip.compress(b'{"id": 1}\n' * 999)[:40])
    (tmp_path / "empty").mkdir()
    for name, words in (
        ("broken.parquet", "a parquet file, or an Arrow file"),
        ("broken.jsonl", "cannot be read"),
        ("empty", "holds no records; name a folder"),
    ):
        with pytest.raises(RecordError, match=words) as raised:
            load_records(Data((tmp_path / name,), tmp_path))
        assert "\n" not in str(raised.value)
