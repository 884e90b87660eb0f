"""Recipes are read strictly, and what is wrong is said in one sentence."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_training import write_recipe

from llava_edge.errors import TrainingError
from llava_edge.train.recipe import load_recipe


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe"), lora=True, warm_start=True)


def test_paths_are_relative_to_the_recipe(written: Path) -> None:
    recipe = load_recipe(written)
    assert recipe.out == written.parent / "run"
    assert recipe.stage1 is not None and recipe.stage2 is not None
    assert recipe.stage1.data[0].records == (written.parent / "records.json",)
    assert recipe.stage2.lora is not None and recipe.stage2.lora.rank == 4


CHANGES: dict[str, tuple[Callable[[str], str], str]] = {
    "a missing file": (lambda t: t.replace('"records.json"', '"none.json"', 1), "none.json"),
    "an unknown key": (lambda t: t.replace("log_steps", "log_stepz", 1), "stage1.log_stepz"),
    "a missing key": (lambda t: t.replace("projector_lr = 1e-2\n", ""), "stage1.projector_lr"),
    "a wrong type": (lambda t: t.replace("batch_size = 2", 'batch_size = "two"'), "batch_size"),
    "an unknown prompt": (lambda t: t.replace('"chatml"', '"alpaca"'), "alpaca"),
    "adapters that do not learn": (
        lambda t: t.replace("language_model_lr = 1e-2\n", ""),
        "lora needs",
    ),
    "a language model in stage 1": (
        lambda t: t.replace("[stage1]", "[stage1]\nlanguage_model_lr = 1"),
        "the projector alone",
    ),
    "no batch": (lambda t: t.replace("batch_size = 2", "batch_size = 0"), "batch_size is 0"),
    "no tower": (lambda t: t.replace('"tower"', '"."'), r"config\.json"),
    "broken TOML": (lambda t: t + "\n[stage3", "is wrong"),
}


@pytest.mark.parametrize(("change", "named"), CHANGES.values(), ids=CHANGES)
def test_a_wrong_recipe_is_refused(written: Path, change: Callable[[str], str], named: str) -> None:
    path = written.with_name("wrong.toml")
    path.write_text(change(written.read_text()))
    with pytest.raises(TrainingError, match=named) as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"nowhere\.toml"):
        load_recipe(tmp_path / "nowhere.toml")
