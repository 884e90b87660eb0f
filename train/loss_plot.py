"""The plot of a run's losses, one panel a stage."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SMOOTHING = 0.9  # of the running mean drawn over the raw losses


def plot_losses(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw rows of {"stage", "step", "loss"} as a picture file."""
    from matplotlib.figure import Figure

    stages = sorted({row["stage"] for row in rows})
    figure = Figure(figsize=(5 * len(stages), 3.5), layout="constrained")
    panels = figure.subplots(1, len(stages), squeeze=False)[0]
    for panel, stage in zip(panels, stages, strict=True):
        steps = [row["step"] for row in rows if row["stage"] == stage]
        losses = [row["loss"] for row in rows if row["stage"] == stage]
        panel.plot(steps, losses, color="#9ecae1", label="loss")
        panel.plot(steps, _smooth(losses), color="#08519c", label="running mean")
        panel.set(
            title=stage, xlabel="step", ylabel="cross-entropy per token, nats", ylim=(0, None)
        )
        panel.legend()
    figure.savefig(path, dpi=150)


def _smooth(losses: Sequence[float]) -> list[float]:
    smooth: list[float] = []
    for loss in losses:
        smooth.append(SMOOTHING * smooth[-1] + (1 - SMOOTHING) * loss if smooth else loss)
    return smooth
