"""The plot of a run's losses, one panel a stage."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llava_edge.core.files import write_atomically

SMOOTHING = 0.9  # of the running mean drawn over the raw losses


def plot_losses(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw rows of {"stage", "step", "loss"} and {"stage", "step", "eval_loss"} as a PNG file."""
    from matplotlib.figure import Figure

    stages = sorted({row["stage"] for row in rows})
    figure = Figure(figsize=(5 * max(len(stages), 1), 3.5), layout="constrained")
    panels = figure.subplots(1, max(len(stages), 1), squeeze=False)[0]
    for panel, stage in zip(panels, stages, strict=False):
        own = [row for row in rows if row["stage"] == stage]
        steps, losses = _curve(own, "loss")
        panel.plot(steps, losses, color="#9ecae1", label="loss")
        panel.plot(steps, _smooth(losses), color="#08519c", label="running mean")
        steps, losses = _curve(own, "eval_loss")
        if steps:
            panel.plot(steps, losses, "o", color="#d94801", label="evaluation")
        panel.set(
            title=stage,
            xlabel="step",
            ylabel="cross-entropy per token, nats",
            ylim=(0, 1.1 * panel.get_ylim()[1]),
        )
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.legend()
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150, format="png")
    write_atomically(path, picture.getvalue())


def _curve(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    return [step for step, _ in points], [value for _, value in points]


def _smooth(losses: Sequence[float]) -> list[float]:
    smooth: list[float] = []
    for loss in losses:
        smooth.append(SMOOTHING * smooth[-1] + (1 - SMOOTHING) * loss if smooth else loss)
    return smooth
