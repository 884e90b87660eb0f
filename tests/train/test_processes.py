"""Two processes train what one trains: DDP, FSDP, and a step shared by accumulation."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import warm_process
from places import SUPPORT
from safetensors.torch import load_file
from tiny_training import write_recipe
from torch import Tensor

STEPS = 20  # of stage 2: 7 records by 4 a step, ten times; stage 1 has 2
LAYOUTS = {
    "one": ("ddp", 1, ""),
    "ddp": ("ddp", 2, ""),
    "fsdp": ("fsdp", 2, ""),
    "ddp, accumulated": ("ddp", 2, "device_batch_size = 1"),
    "fsdp, accumulated": ("fsdp", 2, "device_batch_size = 1"),
    "accumulated": ("ddp", 1, "device_batch_size = 1"),
    "one, in full": ("ddp", 1, ""),
    "fsdp, in full": ("fsdp", 2, ""),
    "one, in bf16": ("ddp", 1, ""),
    "fsdp, in bf16": ("fsdp", 2, "device_batch_size = 1"),
}
HELD_OUT = """
evaluation = { records = ["records.json"], images = "pictures", limit = 3 }
eval_steps = 8
"""
TRAIN = ("-m", "llava_edge", "train")
KILLED = SUPPORT / "killed_run.py"
BY_TORCHRUN = "fsdp"  # the others' processes begin with what takes seconds to import
needs_kill = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9")


class Runs:
    """Runs by their layouts, each trained once, and what is left of those that were killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, layout: str) -> Path:
        folder = self._folder / layout.replace(", ", "-")
        if not folder.exists():
            found = launch(layout, *TRAIN, recipe(folder, layout))
            assert found.returncode == 0, found.stderr
            assert "Warning" not in found.stderr
        return folder / "run"

    def killed(self, layout: str, folder: Path) -> Path:
        """A copy of the run that was killed in stage 2, after a checkpoint; returns its recipe."""
        original = self._folder / f"killed {layout}"
        if not original.exists():
            killed = launch(layout, KILLED, recipe(original, layout), "training_step", 2 + 9)
            assert killed.returncode != 0
            assert (original / "run" / "steps" / "stage2").exists()
            assert not (original / "run" / "stage2").exists()
        shutil.copytree(original, folder)
        return folder / "recipe.toml"


def recipe(folder: Path, layout: str) -> Path:
    parallel, _, settings = LAYOUTS[layout]
    folder.mkdir()
    full = (
        "in full" in layout or "in bf16" in layout
    )  # of a language model whose head is its embeddings
    path = write_recipe(folder, lora=not full, tied=full)
    text = path.read_text()
    if "in bf16" in layout:
        text = text.replace('precision = "fp32"', 'precision = "bf16"')
    text = text.replace("[stage1]", f'parallel = "{parallel}"\n\n[stage1]')
    stage2 = f"batch_size = 4\nepochs = 10\n{settings}"
    text = text.replace("batch_size = 3", stage2 + HELD_OUT)
    text = text.replace("batch_size = 2", f"batch_size = 4\n{settings}")
    path.write_text(text.replace("save_steps = 2", "save_steps = 6"))
    return path


def launch(layout: str, *words: object) -> subprocess.CompletedProcess[str]:
    """A program in the layout's processes; returns what became of the first that failed, if any."""
    count = LAYOUTS[layout][1]
    if layout == BY_TORCHRUN:
        return torchrun(count, *words)
    ended = warm_process.run_together(count, *words)
    return next((one for one in ended if one.returncode), ended[0])


def torchrun(count: int, *words: object) -> subprocess.CompletedProcess[str]:
    command = ["torch.distributed.run", "--nproc-per-node", str(count), "--standalone"]
    return subprocess.run(
        [sys.executable, "-m", *command, *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=warm_process.PATIENCE,
    )


def rows(run: Path, name: str) -> Tensor:
    """The losses of stage 2."""
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return torch.tensor([row[name] for row in log if row["stage"] == "stage2" and name in row])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize(
    "layout", [name for name in LAYOUTS if "one" not in name and "bf16" not in name]
)
def test_processes_train_what_one_trains(layout: str, runs: Runs) -> None:
    one = runs["one, in full" if "in full" in layout else "one"]
    for name, count in (("loss", STEPS), ("eval_loss", STEPS // 8 + 1)):
        assert len(rows(runs[layout], name)) == count
        expected = rows(one, name)
        torch.testing.assert_close(rows(runs[layout], name), expected, atol=1e-4, rtol=0)
    weights = load_file(runs[layout] / "stage2" / "model.safetensors")
    for name, tensor in load_file(one / "stage2" / "model.safetensors").items():
        torch.testing.assert_close(weights[name], tensor, atol=1e-4, rtol=0)


def test_shards_in_bf16_learn_as_one_device_does(runs: Runs) -> None:
    """Nearly: of shards the rows that go from layer to layer are in bf16 too."""
    losses, expected = (rows(runs[name], "loss") for name in ("fsdp, in bf16", "one, in bf16"))
    torch.testing.assert_close(losses, expected, atol=5e-2, rtol=0)


@needs_kill
@pytest.mark.parametrize("layout", ["ddp", "fsdp", "fsdp, in full"])
def test_a_process_that_is_killed_ends_the_run_which_then_goes_on(
    layout: str, runs: Runs, tmp_path: Path
) -> None:
    path = runs.killed(layout, tmp_path / "killed")
    resumed = launch(layout, *TRAIN, path, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    for name in ("loss", "eval_loss"):
        assert torch.equal(rows(path.parent / "run", name), rows(runs[layout], name))
    weights = load_file(path.parent / "run" / "stage2" / "model.safetensors")
    for name, tensor in load_file(runs[layout] / "stage2" / "model.safetensors").items():
        assert torch.equal(weights[name], tensor), name


@needs_kill
@pytest.mark.parametrize(("before", "after"), [("one", "fsdp"), ("fsdp", "one"), ("ddp", "fsdp")])
def test_a_run_goes_on_with_other_processes(
    before: str, after: str, runs: Runs, tmp_path: Path
) -> None:
    path = runs.killed(before, tmp_path / "killed")
    parallel, count, _ = LAYOUTS[after]
    ended = warm_process.run_together(
        count, *TRAIN, path, "--resume", "--set", f"parallel={parallel}"
    )
    assert not any(one.returncode for one in ended), ended
    expected = rows(runs["one"], "loss")
    torch.testing.assert_close(rows(path.parent / "run", "loss"), expected, atol=1e-4, rtol=0)
