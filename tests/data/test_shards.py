"""Tar shards: members are found by name and read at their offset; keys become samples."""

import json
from pathlib import Path

import pytest
from tar_shards import picture_bytes, write_shard

from llava_edge.core.picture import TarMember, load_picture
from llava_edge.core.picture_source import read_bytes
from llava_edge.core.prompt import WrittenMessage
from llava_edge.data.captions import BRIEF_INSTRUCTIONS, caption_sample
from llava_edge.data.records import Data, load_records
from llava_edge.data.shards import expand, read_members
from llava_edge.errors import PictureError, RecordError

RED, BLUE = picture_bytes("red"), picture_bytes("blue", form="JPEG")


def sample(*values: str, **more: object) -> dict[str, object]:
    turns = [{"from": ("human", "gpt")[i % 2], "value": value} for i, value in enumerate(values)]
    return {"id": "x", "conversations": turns, **more}


def test_members_are_read_at_their_offset(tmp_path: Path) -> None:
    members = {"a.png": RED, "deep/b.x.jpg": BLUE, "c.txt": b"words"}
    found = list(read_members(write_shard(tmp_path / "0.tar", members)))
    assert {member.name: member.read() for member in found} == members


def test_a_member_is_remembered_like_its_bytes(tmp_path: Path) -> None:
    (member,) = read_members(write_shard(tmp_path / "0.tar", {"a.png": RED}))
    assert read_bytes(member) == read_bytes(RED) == RED


def test_pictures_are_looked_up_in_shards(tmp_path: Path) -> None:
    write_shard(tmp_path / "shards" / "0.tar", {"coco/a.png": RED})
    write_shard(tmp_path / "shards" / "1.tar", {"./coco/b.jpg": BLUE})
    records = tmp_path / "records.json"
    records.write_text(
        json.dumps([sample("<image> and <image>", "Hm.", image=["coco/b.jpg", "coco/a.png"])])
    )
    for images in (tmp_path / "shards", tmp_path / "shards" / "*.tar"):
        (record,) = load_records(Data((records,), images))
        assert [load_picture(picture).getpixel((3, 3)) for picture in record.images] == [
            (0, 0, 254),
            (255, 0, 0),
        ]


def test_a_picture_that_no_shard_holds_is_missing(tmp_path: Path) -> None:
    write_shard(tmp_path / "0.tar", {"a.png": RED})
    records = tmp_path / "records.jsonl"
    records.write_text(json.dumps(sample("<image>", "Hm.", image="b.png")))
    with pytest.raises(RecordError, match=r"Record 1, line 1 of .*b\.png, which is missing"):
        load_records(Data((records,), tmp_path / "*.tar"))


def test_keys_become_samples_and_captions(tmp_path: Path) -> None:
    own = sample("<image>\nWhat?", "Red.", image="anything.png")
    shard = write_shard(
        tmp_path / "0.tar",
        {
            "one.png": RED,
            "one.json": json.dumps(own).encode(),
            "d/two.jpg": BLUE,
            "d/two.txt": "Blå.\n".encode(),
            "d/two.json": b'{"width": 3}',
            "three.0.png": RED,
            "three.1.jpg": BLUE,
            "three.json": json.dumps(sample("<image><image>", "Both.")).encode(),
            "four.cls": b"7",
        },
    )
    one, two, three = load_records(Data((tmp_path / "*.tar",), shard))
    assert one.messages[1] == WrittenMessage("assistant", "Red.")
    assert two.id == "d/two" and two.messages[1].text == "Blå."
    place, instruction = two.messages[0].text.split("\n")
    assert place == "<image>" and instruction in BRIEF_INSTRUCTIONS
    names = [
        [m.name for m in record.images if isinstance(m, TarMember)] for record in (one, two, three)
    ]
    assert names == [["one.png"], ["d/two.jpg"], ["three.0.png", "three.1.jpg"]]


def test_keys_choose_all_instructions_and_always_the_same() -> None:
    keys = [f"{number:06d}" for number in range(200)]
    texts = {caption_sample(key, "A cat.").split("\\n")[1].split('"')[0] for key in keys}
    assert texts == set(BRIEF_INSTRUCTIONS)
    assert caption_sample("7", "A cat.") == caption_sample("7", " A cat.\n")


@pytest.mark.parametrize("kind", ["cut", "no tar", "missing"])
def test_a_shard_that_is_broken(tmp_path: Path, kind: str) -> None:
    path = write_shard(tmp_path / "0.tar", {"a.png": RED * 20, "b.png": RED})
    if kind == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:700] if kind == "cut" else b"PK" * 600)
    with pytest.raises(RecordError, match=r"0\.tar cannot be read"):
        list(read_members(path))


def test_a_member_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (member,) = read_members(write_shard(tmp_path / "0.tar", {"a.png": b"words"}))
    with pytest.raises(PictureError, match=r"a\.png in .*0\.tar is not a picture"):
        load_picture(member)


def test_a_pattern_names_its_files_in_order(tmp_path: Path) -> None:
    for name in ("b.tar", "a.tar", "c.json"):
        (tmp_path / name).touch()
    assert [path.name for path in expand(tmp_path / "*.tar")] == ["a.tar", "b.tar"]
    assert expand(tmp_path / "c.json") == [tmp_path / "c.json"]
    assert expand(tmp_path / "*.zip") == [tmp_path / "*.zip"]
