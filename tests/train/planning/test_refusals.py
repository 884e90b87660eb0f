"""A dry run refuses what the run itself would refuse."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import tokenizer
from tiny_training import write_recipe

from llava_edge.errors import LlavaEdgeError
from llava_edge.train.planning.refusals import require_runnable
from llava_edge.train.recipe import load_recipe
from llava_edge.train.recipe_tables import open_tables


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_recipe(tmp_path)
    return tmp_path


def dry_run(folder: Path, *settings: str) -> None:
    recipe = load_recipe(folder / "recipe.toml", settings)
    require_runnable(recipe, open_tables(recipe))


def edit(folder: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    path = folder / "records.json"
    records = json.loads(path.read_text())
    change(records)
    path.write_text(json.dumps(records))


def test_what_can_run_is_not_refused(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    dry_run(folder)
    assert sorted(folder.rglob("*")) == before


def test_special_tokens_that_are_missing(folder: Path) -> None:
    tokenizer("vicuna_v1").save(str(folder / "language_model" / "tokenizer.json"))
    with pytest.raises(LlavaEdgeError, match=re.escape("has no token <|im_end|>")):
        dry_run(folder)


def test_max_tokens_that_leave_no_answer(folder: Path) -> None:
    for bad_records in ("stop", "refuse"):
        with pytest.raises(LlavaEdgeError, match=r"max_tokens"):
            dry_run(folder, "max_tokens=40", f"bad_records={bad_records}")
    dry_run(folder, "max_tokens=40", "bad_records=skip")  # the record without a picture fits
    with pytest.raises(LlavaEdgeError, match="7 of 7 records of stage1 have no answer"):
        dry_run(folder, "max_tokens=5", "bad_records=skip")


def test_a_missing_picture_and_a_bad_record(folder: Path) -> None:
    (folder / "pictures" / "3.png").unlink()
    with pytest.raises(LlavaEdgeError, match=r"Record 4, line 1 of .*3\.png, which is missing"):
        dry_run(folder)
    dry_run(folder, "bad_records=skip")
    edit(folder, lambda records: records[1].update(video="v.mp4"))
    with pytest.raises(LlavaEdgeError, match=r"Record 2, .* holds video"):
        dry_run(folder)
    edit(folder, lambda records: [record.update(video="v.mp4") for record in records])
    with pytest.raises(LlavaEdgeError, match="None of the 7 records"):
        dry_run(folder, "bad_records=skip")


def test_a_folder_that_nobody_can_write_to(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(LlavaEdgeError, match="cannot be made or written to"):
        dry_run(folder, f"out={folder / 'file' / 'run'}")


@pytest.mark.parametrize("key", ["language_model", "vision_tower"])
def test_a_folder_that_is_not_there_is_no_name_of_the_hub(key: str, folder: Path) -> None:
    (folder / "models").mkdir()
    text = (folder / "recipe.toml").read_text()
    path = folder / "recipe.toml"
    path.write_text(re.sub(rf'^{key} = ".*"', f'{key} = "models/gone"', text, flags=re.M))
    recipe = load_recipe(path)
    assert recipe.missing == [folder / "models" / "gone" / "config.json"]
