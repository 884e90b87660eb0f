"""What a terminal shows of a running stage: a live bar; in a file, one plain line a report."""

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback
from transformers.utils import logging


class Display(TrainerCallback):
    """Shows the reports that Throughput completed, in the main process alone."""

    def __init__(self, stage: str, console: Console) -> None:
        self._stage, self._console = stage, console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            expand=True,
        )
        self._task = self._bar.add_task(stage, left="")
        self._figures = Text(no_wrap=True, overflow="ellipsis")
        self._live: Live | None = None
        self._began, self._first_step = 0.0, 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._began, self._first_step = time.monotonic(), state.global_step
        self._bar.update(self._task, total=state.max_steps, completed=state.global_step)
        if state.is_world_process_zero and self._console.is_terminal:
            self._live = Live(Group(self._bar, self._figures), console=self._console)
            self._live.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._bar.update(self._task, completed=state.global_step, left=self._left(state))

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **kwargs: Any
    ) -> None:
        if "loss" not in logs:
            return
        self._figures.plain = figures(logs)
        if self._live is None:
            self._print(state, f"{figures(logs)}  {self._left(state)}")

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Mapping[str, Any], **kwargs: Any
    ) -> None:
        self._print(state, f"evaluation loss {metrics['eval_loss']:.4f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.close()

    def close(self) -> None:
        """End the live bar, also after a failure, so that the cursor comes back."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _print(self, state: Any, text: str) -> None:
        if state.is_world_process_zero:
            line = f"{self._stage} {state.global_step}/{state.max_steps}  {text}"
            self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def _left(self, state: Any) -> str:
        """The time until the last step, at the speed since the start."""
        done = state.global_step - self._first_step
        seconds = (time.monotonic() - self._began) / max(done, 1)
        return f"{timedelta(seconds=round((state.max_steps - state.global_step) * seconds))} left"


def figures(logs: Mapping[str, Any]) -> str:
    """A report in words: loss, rates, model FLOPs utilization and peak memory."""
    parts = [
        f"loss {logs['loss']:.4f}",
        f"{logs['samples_per_second']:,.1f} samples/s",
        f"{logs['tokens_per_second']:,.0f} of {logs['all_tokens_per_second']:,.0f} tokens/s",
        "MFU above the measured peak" if logs["mfu"] is None else f"MFU {logs['mfu']:.1%}",
    ]
    if logs["memory_bytes"] is not None:
        parts.append(f"{logs['memory_bytes'] / 1e9:.1f} GB")
    return "  ".join(parts)


def silence_transformers() -> None:
    """Hide its bars and warnings; what matters of them is an error of this package."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()


def silence(trainer: Trainer) -> None:
    """Take the Trainer's own bar and printed dictionaries away."""
    for kind in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(kind)
