"""What breaks while a stage runs ends in one sentence, and what was saved before stays usable."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from tiny_training import write_recipe
from transformers import TrainerCallback
from watched import run_stage

from llava_edge.errors import PictureError, TrainingError
from llava_edge.train.engine import trainer
from llava_edge.train.inputs.dataset import Example, RecordDataset
from llava_edge.train.watch.journal import read_log
from llava_edge.train.watch.stage_failures import last_checkpoint, translate_errors

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

WORKERS = {"dataloader_num_workers": 1}


class Poison(TrainerCallback):
    """Puts a nan into a weight, or into a gradient as a hook on the weight does."""

    def __init__(self, step: int, *, gradient: bool = False) -> None:
        self._step, self._gradient = step, gradient
        self.before: list[torch.Tensor] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step != self._step:
            return
        model = kwargs["model"]
        bias = model.llava.model.multi_modal_projector.linear_1.bias
        if self._gradient:
            bias.register_hook(lambda gradient: gradient * float("inf"))
        else:
            bias.data[0] = float("nan")
        self.before = [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("gradient", [False, True], ids=["loss", "gradient"])
def test_a_nan_stops_before_it_is_applied(tmp_path: Path, gradient: bool) -> None:
    poison, models = Poison(2, gradient=gradient), []

    class Keep(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            models.append(kwargs["model"])

    recipe = write_recipe(tmp_path)
    what = "gradient" if gradient else "loss"
    with pytest.raises(TrainingError, match=f"{what} of stage1 is (nan|inf) at step 3") as caught:
        run_stage(recipe, poison, Keep(), logging_nan_inf_filter=True)
    assert "on the records picture-" in str(caught.value) and "fp32" in str(caught.value)
    assert "checkpoint-2 is usable" in str(caught.value)
    for now, before in zip(models[0].parameters(), poison.before, strict=True):
        torch.testing.assert_close(now, before, rtol=0, atol=0, equal_nan=True)
    assert [row["step"] for row in read_log(tmp_path / "run" / "log.jsonl")] == [1, 2]
    assert run_stage(recipe).state.global_step == 4


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        ),
        # torch's own words, on a full tmpfs
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
    ],
    ids=["file", "safetensors", "torch"],
)
def test_a_full_disk_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    save = trainer.save_file

    def full(tensors: Any, path: Path) -> None:
        save(tensors, path)
        if path.parent.name == "checkpoint-4":
            raise error

    recipe = write_recipe(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "save_file", full)
        with pytest.raises(TrainingError, match=r"disk is full.*--resume.*checkpoint-2 is usable"):
            run_stage(recipe)
    assert [path.name for path in (tmp_path / "run/steps/stage1").iterdir()] == ["checkpoint-2"]
    assert run_stage(recipe).state.global_step == 4


class Blocking(RecordDataset):
    """Records that never come, as from a share that is gone."""

    def __getitem__(self, index: int) -> Example:
        signal.pause()
        raise AssertionError


class Killed(RecordDataset):
    """Records whose reader the system ends, as it does where memory ran out."""

    def __getitem__(self, index: int) -> Example:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class NoPicture(RecordDataset):
    def __getitem__(self, index: int) -> Example:
        raise PictureError("3.png is no picture;\ngive another.")


def test_a_stalled_data_loader_stops(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"No batch of stage1 came for 1 seconds.*no check"):
        run_stage(write_recipe(tmp_path), dataset=Blocking, timeout=1, **WORKERS)


def test_a_killed_data_loader_worker_stops(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"reads pictures for stage1 died \((kill|exit)ed"):
        run_stage(write_recipe(tmp_path), dataset=Killed, **WORKERS)


def test_a_workers_own_sentence_stays_one(tmp_path: Path) -> None:
    with pytest.raises(PictureError) as caught:
        run_stage(write_recipe(tmp_path), dataset=NoPicture, **WORKERS)
    assert str(caught.value) == "3.png is no picture;\ngive another."


def test_memory_that_runs_out_says_what_to_lower(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="device_batch_size, gradient_checkpointing"):
        with translate_errors("stage2", tmp_path):
            torch.empty(1 << 60, dtype=torch.uint8)
    with pytest.raises(TrainingError, match="device_batch_size"):
        with translate_errors("stage2", tmp_path):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")


def test_a_lost_gpu_is_said(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"GPU failed in stage2 \(CUDA error: unspecified"):
        with translate_errors("stage2", tmp_path):
            raise torch.AcceleratorError("CUDA error: unspecified launch failure\nmore\nlines")


PEER = """
import os, sys, torch.distributed as dist
dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=1, world_size=2)
dist.barrier()
os._exit(1)
"""


def test_a_lost_process_is_said(tmp_path: Path) -> None:
    import torch.distributed as dist

    file = tmp_path / "meeting"
    peer = subprocess.Popen([sys.executable, "-c", PEER, str(file)])
    try:
        dist.init_process_group("gloo", init_method=f"file://{file}", rank=0, world_size=2)
        with pytest.raises(TrainingError, match="Another process of stage1 is gone"):
            with translate_errors("stage1", tmp_path):
                dist.barrier()
                peer.wait()
                dist.all_reduce(torch.ones(3))
    finally:
        peer.wait()
        dist.destroy_process_group()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("CUDA error: device-side assert triggered"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
    ],
    ids=str,
)
def test_a_bug_stays_a_bug(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as caught, translate_errors("stage1", tmp_path):
        raise error
    assert caught.value is error


def test_a_checkpoint_counts_once_its_state_is_whole(tmp_path: Path) -> None:
    for step, state in ((9, '{"global_step": 9}'), (10, '{"global_st'), (11, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state:
            (folder / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-9"
    assert last_checkpoint(tmp_path / "none") is None
