"""How fast a stage trains: records, tokens and operations a second, and its memory."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import TrainerCallback

from llava_edge.core.machine import peak_memory
from llava_edge.train.watch.flops import Cost


class Throughput(TrainerCallback):
    """Counts what each micro-batch holds, and adds the rates to each report of the loss.

    It must come before the callbacks that read the reports. `peak` is the device's operations a
    second. With several processes each counts its own batches, and the rates are those times
    the number of processes. The time of evaluations and of saving is not counted.
    """

    def __init__(
        self,
        cost: Cost,
        peak: float,
        processes: int = 1,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._cost, self._peak, self._processes = cost, peak, processes
        self._clock = clock
        self._restart()

    def add(self, lengths: Sequence[int], labels: int, images: int) -> None:
        """Count a micro batch: its records' lengths in tokens, its labels that count, its images.

        Image tokens are among the lengths, padding is not.
        """
        self._samples += len(lengths)
        self._tokens += sum(lengths)
        self._labels += labels
        self._operations += self._cost.operations(lengths, labels, images)

    def report(self) -> dict[str, float | None]:
        """The rates since the last report."""
        seconds = self._clock() - self._start - self._paused
        rate = self._processes / seconds
        mfu = self._operations / seconds / self._peak
        figures: dict[str, float | None] = {
            "samples_per_second": rate * self._samples,
            "tokens_per_second": rate * self._labels,
            "all_tokens_per_second": rate * self._tokens,
            "mfu": mfu if mfu <= 1 else None,  # the peak was then measured too low
            "memory_bytes": _memory(),
            "seconds": seconds,
        }
        self._restart()
        return figures

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._restart()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._mark = self._clock()

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._pause()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._pause()

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any
    ) -> None:
        if "loss" in logs:
            logs.update(self.report())

    def _restart(self) -> None:
        self._samples = self._tokens = self._labels = 0
        self._operations = self._paused = 0.0
        self._start = self._mark = self._clock()

    def _pause(self) -> None:
        """Leave out the time since the step's end, or since the last pause: it was no training."""
        now = self._clock()
        self._paused += now - self._mark
        self._mark = now


def _memory() -> int | None:
    """The peak of what torch allocated on the GPU, or of this process on a CPU, in bytes."""
    if torch.cuda.is_available():
        peak: int = torch.cuda.max_memory_allocated()
        return peak
    return peak_memory()
