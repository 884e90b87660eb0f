"""A run that is killed and goes on ends like one that was never killed, bit for bit."""

import json
import signal
import sys
from pathlib import Path

import pytest
import warm_process
from places import SUPPORT
from safetensors.torch import load_file
from tiny_training import write_recipe

from llava_edge.train.train import train

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # of peft's making
    pytest.mark.filterwarnings("ignore::UserWarning"),  # of Trainer's, which misses a GPU
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9"),
]
KILLED = SUPPORT / "killed_run.py"
PLACES = {  # stage 1 has 4 steps and stage 2 has 3; each saves every 2
    "at the first step": ("training_step", 1),
    "after a checkpoint": ("training_step", 4),
    "in stage 2": ("training_step", 5),
    "while the weights are written": ("save_file", 2),
    "before the optimizer is written": ("_save_optimizer_and_scheduler", 3),
}


def recipe_in(folder: Path) -> Path:
    """With adapters that drop out, so that random numbers matter."""
    folder.mkdir()
    path = write_recipe(folder, lora=True)
    path.write_text(path.read_text().replace("alpha = 8", "alpha = 8, dropout = 0.2"))
    return path


def losses(run: Path) -> list[tuple[str, int, float]]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [(row["stage"], row["step"], row["loss"]) for row in rows if "loss" in row]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = recipe_in(tmp_path_factory.mktemp("whole") / "run of its own")
    train(recipe)
    return recipe.parent / "run"


@pytest.mark.parametrize("place", PLACES)
def test_killed_and_resumed(place: str, uninterrupted: Path, tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path / "killed")
    killed = warm_process.run(KILLED, recipe, *PLACES[place])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    train(recipe, resume=True)
    run = recipe.parent / "run"
    assert losses(run) == losses(uninterrupted)
    for stage in ("stage1", "stage2"):
        resumed = load_file(run / stage / "model.safetensors")
        expected = load_file(uninterrupted / stage / "model.safetensors")
        assert resumed.keys() == expected.keys()
        assert all(resumed[name].equal(expected[name]) for name in expected)
