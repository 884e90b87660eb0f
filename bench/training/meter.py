"""Steps of a training loop, taken on request: what they compute and how long they take."""

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TextIO

from llava_edge.core.machine import peak_memory

if TYPE_CHECKING:
    from llava_edge.train.watch.flops import Cost


@dataclass(frozen=True)
class MeteredBlock:
    """A few steps in a row; `peak_memory` is that of the process until their end."""

    steps: int
    seconds: float
    samples: int
    labels: int  # tokens that count in the loss
    tokens: int  # without padding
    positions: int  # with padding
    operations: float  # that training needs, by train/watch/flops.py
    peak_memory: int | None  # bytes; on a GPU what torch allocated there


class Meter:
    """Counts a model's batches, and pauses its training after the optimizer's steps.

    A request says how many steps to take; a MeteredBlock answers it when they are done. Model and
    loop are not changed: torch's hooks before a forward and after an optimizer's step do this.
    """

    def __init__(self, model: Any, cost: "Cost", out: TextIO) -> None:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        self._cost, self._out = cost, out
        model.register_forward_pre_hook(self._count, with_kwargs=True)
        register_optimizer_step_post_hook(self._after_step)

    def wait(self) -> None:
        """Wait for a request; the process ends if none can come any more."""
        line = sys.stdin.readline()
        if not line:
            sys.exit()
        _, arguments = json.loads(line)
        self._steps = self._left = arguments["steps"]
        self._batches: list[tuple[Any, Any, int, int]] = []
        self._start = time.perf_counter()

    def _count(self, model: Any, args: object, batch: dict[str, Any]) -> None:
        """Count a micro batch; its numbers are read later, since reading waits for the GPU."""
        import torch

        mask, labels = batch.get("attention_mask"), batch["labels"]
        lengths = torch.diff(torch.tensor(batch["segments"])) if mask is None else mask.sum(1)
        pictures = [batch[name] for name in ("pixel_values", "features") if name in batch]
        counted = (labels[:, 1:] != -100).sum()
        self._batches.append((lengths, counted, labels.numel(), sum(map(len, pictures))))

    def _after_step(self, optimizer: object, args: object, kwargs: object) -> None:
        self._left -= 1
        if not self._left:
            print(json.dumps(asdict(self._block())), file=self._out)
            self.wait()

    def _block(self) -> MeteredBlock:
        import torch

        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - self._start
        batches = [(rows.tolist(), int(n), size, images) for rows, n, size, images in self._batches]
        return MeteredBlock(
            steps=self._steps,
            seconds=seconds,
            samples=sum(len(lengths) for lengths, _, _, _ in batches),
            labels=sum(labels for _, labels, _, _ in batches),
            tokens=sum(sum(lengths) for lengths, _, _, _ in batches),
            positions=sum(size for _, _, size, _ in batches),
            operations=sum(
                self._cost.operations(lengths, labels, images)
                for lengths, labels, _, images in batches
            ),
            peak_memory=torch.cuda.max_memory_allocated() if cuda else peak_memory(),
        )
