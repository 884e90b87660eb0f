"""`llava-edge data` as a user meets it."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from tiny_training import write_recipe, write_records
from typer.testing import CliRunner, Result

from llava_edge.cli.data_show import print_record
from llava_edge.cli.main import app
from llava_edge.errors import LlavaEdgeError, RecordError, TrainingError, UsageError
from llava_edge.train.inputs.show import show


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["data", *map(str, arguments)], env={"COLUMNS": "200"})


def error(result: Result, kind: type[LlavaEdgeError]) -> str:
    assert isinstance(result.exception, kind)
    return str(result.exception)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe"))


def test_nothing_is_wrong(recipe: Path) -> None:
    result = run("check", recipe, "--workers", 1)
    assert (result.exit_code, result.output) == (0, "7 records: nothing is wrong.\n")


def test_what_is_wrong_is_counted_and_named(tmp_path: Path) -> None:
    write_records(tmp_path)
    (tmp_path / "pictures" / "1.png").write_bytes(b"words")
    for name in ("3.png", "4.png"):
        (tmp_path / "pictures" / name).unlink()
    arguments = ("check", tmp_path / "records.json", "--images", tmp_path / "pictures")
    result = run(*arguments)
    assert result.exit_code == 1
    missing, first, second, corrupt, third, total = result.output.splitlines()
    assert (missing, corrupt) == ("2 missing picture", "1 corrupt picture")
    assert first.startswith("  Record 4, line 1 of ") and "add it or drop" in first
    assert second.startswith("  Record 5") and "1.png is not a picture" in third
    assert total == "3 of 7 records have a problem."
    found = json.loads(run(*arguments, "--json").output)
    places = found["problems"]["missing picture"]
    assert [place["record"] for place in places] == [4, 5]
    assert all("which is missing" in place["why"] for place in places)


def test_a_truncated_list(tmp_path: Path) -> None:
    write_records(tmp_path)
    path = tmp_path / "records.json"
    path.write_text(path.read_text()[:-20])
    assert "break at line 1" in error(run("check", path), RecordError)


def test_a_record_as_the_model_sees_it(recipe: Path) -> None:
    result = run("show", recipe, "--stage", "stage1", "--index", 1)
    assert result.exit_code == 0
    words = " ".join(result.output.split())
    assert "Record 2, line 1 of" in words and "1.png" in words
    assert "<|im_start|>user <image x 36> What is in the picture?<|im_end|>" in words
    assert "[[There is a dog on the table.<|im_end|>]]" in words
    assert "[[No.<|im_end|>]]" in words
    assert "36 image tokens" in words


def test_what_is_learned_is_in_colour_on_a_terminal(recipe: Path) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="standard", markup=False)
    print_record(show(recipe, "stage2", 6), console)
    assert "\x1b[1;32mGood day, à côté.<|im_end|>\x1b[0m" in out.getvalue()
    assert "[[" not in out.getvalue()


def test_what_max_tokens_cuts_off(recipe: Path, tmp_path: Path) -> None:
    path = recipe.with_name("short.toml")
    path.write_text("max_tokens = 105\n" + recipe.read_text())
    output = run("show", path).output
    assert "105 tokens:" in output and "more are cut off by max_tokens" in output


def test_what_is_not_there_to_be_shown(recipe: Path) -> None:
    assert "has stage1 and stage2, but no stage3" in error(
        run("show", recipe, "--stage", "stage3"), UsageError
    )
    assert "records 0 to 6" in error(run("show", recipe, "--index", 7), UsageError)


def test_a_shipped_recipe_is_checked_by_name() -> None:
    assert "data/LLaVA-Pretrain" in error(run("check", Path("v1.5")), TrainingError)


def test_bad_records_are_marked(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    path = tmp_path / "records.json"
    records = json.loads(path.read_text())
    records[0]["video"] = "v.mp4"
    records[1] |= {"image": "gone.png", "source": "x"}
    path.write_text(json.dumps(records))
    shown = run("show", recipe, "--index", 0).output.splitlines()
    assert len(shown) == 1 and shown[0].startswith("Bad: Record 1, line 1 of ")
    shown = run("show", recipe, "--index", 1).output.splitlines()
    assert "gone.png, which is missing" in shown[0]
    assert shown[1].endswith("picture-1") and "[[" in "".join(shown)
    checked = run("check", recipe, "--workers", 1).output.splitlines()
    assert "Not read: source (1)." in checked
    assert json.loads(run("check", recipe, "--json").output)["unread"] == {"source": 1}


def test_a_dry_run_refuses_what_the_run_would(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    (tmp_path / "pictures" / "2.png").unlink()
    result = CliRunner().invoke(app, ["train", str(recipe), "--dry-run"])
    assert "2.png, which is missing" in error(result, RecordError)
    assert not (tmp_path / "run").exists()
