"""Two processes of torchrun train what one trains: DDP, FSDP, and a step shared by accumulation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_training import write_recipe

STEPS = 20  # of stage 2: 7 records by 4 a step, ten times
LAYOUTS = {
    "ddp": ("ddp", 2, ""),
    "fsdp": ("fsdp", 2, ""),
    "ddp, accumulated": ("ddp", 2, "device_batch_size = 1"),
    "accumulated": ("ddp", 1, "device_batch_size = 1"),
}


def run(folder: Path, parallel: str, processes: int, settings: str) -> Path:
    recipe = write_recipe(folder, lora=True)
    text = recipe.read_text().replace("[stage1]", f'parallel = "{parallel}"\n\n[stage1]')
    stage2 = f"batch_size = 4\nepochs = 10\n{settings}"
    recipe.write_text(text.replace("batch_size = 3", stage2).replace("batch_size = 2", stage2))
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
    launcher = torchrun if processes > 1 else []
    subprocess.run(
        [sys.executable, *launcher, "-m", "llava_edge", "train", str(recipe)],
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return folder / "run"


def losses(run: Path) -> torch.Tensor:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    found = [row["loss"] for row in rows if row["stage"] == "stage2" and "loss" in row]
    return torch.tensor(found)


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("one"), "ddp", 1, "")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_processes_train_what_one_trains(layout: str, one_process: Path, tmp_path: Path) -> None:
    found = run(tmp_path, *LAYOUTS[layout])
    assert len(losses(found)) == STEPS
    torch.testing.assert_close(losses(found), losses(one_process), atol=1e-4, rtol=0)
    weights = load_file(found / "stage2" / "model.safetensors")
    for name, expected in load_file(one_process / "stage2" / "model.safetensors").items():
        torch.testing.assert_close(weights[name], expected, atol=1e-4, rtol=0)
