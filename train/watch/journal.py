"""Keeps what a run reports: `log.jsonl`, TensorBoard's event files and the plot of the losses."""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from transformers import TrainerCallback

from llava_edge.core.files import write_atomically
from llava_edge.train.watch.loss_plot import plot_losses

LOG, PLOT, TENSORBOARD = "log.jsonl", "losses.png", "tensorboard"  # of a run's folder


class Journal(TrainerCallback):
    """Writes one stage's reports as they come, in the main process alone.

    A stage that goes on from a checkpoint first removes what was written after it.
    """

    def __init__(self, stage: str, out: Path) -> None:
        self._stage, self._out = stage, out
        self._writer: SummaryWriter | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        self._out.mkdir(parents=True, exist_ok=True)
        self._forget_after(state.global_step)
        events = self._out / TENSORBOARD / self._stage
        if state.global_step == 0:
            shutil.rmtree(events, ignore_errors=True)
        self._writer = SummaryWriter(str(events), purge_step=state.global_step + 1)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # A resumed run's first report begins at the checkpoint, so another one has to end there.
        control.should_log = control.should_log or control.should_save

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **kwargs: Any
    ) -> None:
        if "loss" in logs:
            self._write(state.global_step, logs)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Mapping[str, Any], **kwargs: Any
    ) -> None:
        self._write(state.global_step, {"eval_loss": metrics["eval_loss"]})
        self._draw()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._draw()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._draw()
        self.close()

    def close(self) -> None:
        """Close the event file; the journal then writes no more."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _write(self, step: int, figures: Mapping[str, Any]) -> None:
        if self._writer is None:
            return
        row = {"stage": self._stage, "step": step}
        row |= {name: _finite(value) for name, value in figures.items()}
        with (self._out / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
        for name, value in figures.items():
            if value is not None:
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def _draw(self) -> None:
        if self._writer is not None:
            plot_losses(read_log(self._out / LOG), self._out / PLOT)

    def _forget_after(self, step: int) -> None:
        kept = [
            row
            for row in read_log(self._out / LOG)
            if row["stage"] != self._stage or row["step"] <= step
        ]
        write_atomically(self._out / LOG, "".join(json.dumps(row) + "\n" for row in kept))


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a run's `log.jsonl`, without a last row that was cut off; none without a file."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _finite(value: Any) -> Any:
    """JSON cannot say nan and inf."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
