"""How a stage ends when something breaks: in one sentence, with a checkpoint to go on from."""

import errno
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback

from llava_edge.errors import LlavaEdgeError, TrainingError

STALLED = 600  # seconds without a batch
BREAKS = (OSError, RuntimeError, MemoryError, SafetensorError)  # of which some are translated

# What torch and safetensors say, where an error has no kind of its own.
FULL = (
    "No space left|Disk quota exceeded|PytorchStreamWriter failed|inline_container.*unexpected pos"
)
NO_MEMORY = "out of memory|can't allocate memory|not enough memory|_STATUS_ALLOC_FAILED"
NO_BATCH = r"DataLoader timed out after (\d+)"
NO_WORKER = r"DataLoader worker \(pid.*?\) (?:is )?(killed by signal: [\w ]+|exited unexpectedly)"
IN_WORKER = r"^Caught .* in DataLoader worker process.*\.(\w+Error): (.+)\Z"
NO_PEER = "closed by peer|reset by peer|Broken pipe|NCCL|ProcessGroup"
NO_GPU = "CUDA error(?!: device-side assert)"  # which is a bug, and says where


class StopOnNan(TrainerCallback):
    """Stops a stage whose loss or gradient is nan or infinite before the optimizer applies it.

    `steps` is the folder of the stage's checkpoints.
    """

    def __init__(self, stage: str, steps: Path) -> None:
        self._stage, self._steps = stage, steps
        self._records: list[str] = []

    def check_loss(self, loss: Tensor, step: int, records: Sequence[str] = ()) -> None:
        """Raise TrainingError unless a micro batch's loss is finite; `records` are its ids."""
        self._records += records
        self._check("loss", loss, step)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._records = []

    def on_pre_optimizer_step(
        self, args: Any, state: Any, control: Any, model: nn.Module, **kwargs: Any
    ) -> None:
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        # A sharded norm is a part of the whole on each process.
        self._check("gradient", getattr(norm, "full_tensor", lambda: norm)(), state.global_step + 1)

    def _check(self, what: str, value: Tensor, step: int) -> None:
        if torch.isfinite(value).all():
            return
        records = f", on the records {', '.join(self._records)}" if self._records else ""
        raise TrainingError(
            f"The {what} of {self._stage} is {float(value):g} at step {step}{records}; "
            f"{_kept(self._steps)}, and this step was not applied: mend the pictures or set "
            'precision = "fp32" and go on with --resume, or correct the words or lower the '
            "learning rates and begin anew with --force."
        )


@contextmanager
def translate_errors(stage: str, steps: Path) -> Iterator[None]:
    """Translate what breaks while a stage runs into a TrainingError of one sentence.

    That is: a full disk, too little memory, a data loader that stalls or whose worker died, a
    GPU or another process that is gone. After a full disk, checkpoints that are half written
    are removed from `steps`. Errors that nobody foresaw are not translated.
    """
    try:
        yield
    except LlavaEdgeError as error:
        if found := re.search(IN_WORKER, str(error).strip(), re.DOTALL):
            raise type(error)(found[2]) from error
        raise
    except BREAKS as error:
        reason = _reason(error, stage)
        if reason is None:
            raise
        if _is(error, FULL, errno.ENOSPC, errno.EDQUOT):
            _remove_half_written(steps)
        raise TrainingError(f"{reason}, then go on with --resume ({_kept(steps)}).") from error


def watch_for_stalls(loader: DataLoader[Any]) -> None:
    """Make a loader with workers raise an error if no batch comes for STALLED seconds."""
    if loader.num_workers:
        loader.timeout = STALLED


def last_checkpoint(steps: Path) -> Path | None:
    """The last checkpoint that is complete: Trainer writes its state last."""
    whole = [folder for folder in steps.glob("checkpoint-*") if _is_whole(folder)]
    return max(whole, key=lambda folder: int(folder.name.split("-")[1]), default=None)


def _reason(error: Exception, stage: str) -> str | None:
    """What happened and what to do; None for an error that nobody foresaw."""
    text = str(error)
    if _is(error, FULL, errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full, so {stage} could not write on; free some space"
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or _is(
        error, NO_MEMORY, errno.ENOMEM
    ):
        return (
            f"There is not enough memory for {stage}; set a smaller device_batch_size, "
            'gradient_checkpointing = true, or lora with quantize = "nf4"'
        )
    if found := re.search(NO_BATCH, text):
        return (
            f"No batch of {stage} came for {found[1]} seconds; check the disk or network share "
            "with the pictures"
        )
    if found := re.search(NO_WORKER, text):
        return (
            f"A process that reads pictures for {stage} died ({found[1].strip()}), most often "
            "because memory or /dev/shm is full; free some"
        )
    if re.search(NO_PEER, text):
        return (
            f"Another process of {stage} is gone ({_first_line(text)}); look for "
            "the error that it or its machine reported"
        )
    if re.search(NO_GPU, text):
        return f"The GPU failed in {stage} ({_first_line(text)}); see the system's log"
    return None


def _is(error: Exception, pattern: str, *numbers: int) -> bool:
    number = getattr(error, "errno", None)
    return number in numbers or re.search(pattern, str(error)) is not None


def _kept(steps: Path) -> str:
    checkpoint = last_checkpoint(steps)
    return f"{checkpoint} is usable" if checkpoint else "no checkpoint was saved yet"


def _is_whole(folder: Path) -> bool:
    try:
        return isinstance(json.loads((folder / "trainer_state.json").read_text()), dict)
    except (OSError, ValueError):
        return False


def _remove_half_written(steps: Path) -> None:
    for folder in steps.glob("checkpoint-*"):
        if not _is_whole(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0].rstrip(".")
