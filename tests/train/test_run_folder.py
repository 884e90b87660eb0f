"""A run's folder is claimed once, and a resumed run is what it was."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from tiny_training import write_recipe

from llava_edge.errors import TrainingError
from llava_edge.train.recipe import load_recipe
from llava_edge.train.run_folder import claim, remember

DATA = {"stage1": "a", "stage2": "b"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe"), lora=True, warm_start=True)


def begin(recipe: Path, out: Path, checkpoint: str, overrides: Sequence[str] = ()) -> None:
    """What a run leaves that was stopped after its first checkpoint of a stage."""
    claim(out, resume=False, force=False)
    remember(load_recipe(recipe, [f"out={out}", *overrides]), DATA, resume=False)
    folder = out / "steps" / checkpoint / "checkpoint-2"
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text("{}")


def test_there_must_be_a_run_to_resume(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no run in .* without --resume"):
        claim(tmp_path / "run", resume=True, force=False)
    assert not (tmp_path / "run").exists()


def test_a_folder_must_be_made_or_written_to(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    for out in (tmp_path / "run", tmp_path / "run" / "below"):
        with pytest.raises(TrainingError, match="cannot be made or written to"):
            claim(out, resume=False, force=False)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("stage1.batch_size=4", r"stage1\.batch_size = 2, but the recipe now says 4"),
        ("stage1.epochs=2", "stage1.epochs = 1.0"),
        ("projector=linear", "projector = mlp2x_gelu"),
        ("seed=1", "another seed"),
        ("warm_start.epochs=4", r"warm_start\.epochs = 3"),
    ],
)
def test_what_it_began_with_stays(written: Path, tmp_path: Path, override: str, said: str) -> None:
    begin(written, tmp_path, "stage1")
    (tmp_path / "warm_start").mkdir()
    before = (tmp_path / "run.json").read_text()
    with pytest.raises(TrainingError, match=said):
        remember(load_recipe(written, [f"out={tmp_path}", override]), DATA, resume=True)
    assert (tmp_path / "run.json").read_text() == before


@pytest.mark.parametrize(
    "override",
    ["precision=bf16", "stage1.device_batch_size=1", "stage1.save_steps=7", "stage2.lora.rank=2"],
)
def test_what_they_do_not_may_change(written: Path, tmp_path: Path, override: str) -> None:
    begin(written, tmp_path, "stage1")
    remember(load_recipe(written, [f"out={tmp_path}", override]), DATA, resume=True)
    key = override.split("=")[0].split(".")[-1]
    assert f'"{key}"' in (tmp_path / "run.json").read_text()
    assert json.loads((tmp_path / "run.json").read_text())["data"] == DATA


def test_a_model_may_move_but_not_change(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    out = tmp_path / "run"
    begin(recipe, out, "stage1")
    moved = tmp_path / "moved"
    for folder, key in (("tower", "vision_tower"), ("language_model", "language_model")):
        (tmp_path / folder).rename(moved)
        again = load_recipe(recipe, [f"out={out}", f"{key}={moved}"])
        remember(again, DATA, resume=True)
        weights = moved / "model.safetensors"
        content = weights.read_bytes()
        weights.write_bytes(content[:-4] + b"else")
        with pytest.raises(TrainingError, match="another tower or language model"):
            remember(again, DATA, resume=True)
        weights.write_bytes(content)
        moved.rename(tmp_path / folder)


def test_records_may_change_until_their_stage_begins(written: Path, tmp_path: Path) -> None:
    begin(written, tmp_path, "stage1")
    recipe = load_recipe(written, [f"out={tmp_path}"])
    remember(recipe, DATA | {"stage2": "c"}, resume=True)
    with pytest.raises(TrainingError, match="other records in stage1"):
        remember(recipe, DATA | {"stage1": "c"}, resume=True)
