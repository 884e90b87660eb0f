"""Plots of a campaign: decoding by context, and the share of the roofline by prompt length."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from llava_edge.bench.gpu.decoder_speed import EAGER, RECORDED
from llava_edge.bench.gpu.findings import Finding, PartOutcome
from llava_edge.core.extras import needed_by

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHAPES = ("7b", "2b")


def draw(outcomes: Mapping[str, PartOutcome], title: str, folder: Path) -> list[Path]:
    """Write decode.png and prefill.png, if there is anything to draw; raises LlavaEdgeError."""
    with needed_by("A plot", "bench"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    drawn = []
    for kind, fill in (("decode", _decode), ("prefill", _prefill)):
        shapes = [shape for shape in SHAPES if _of(outcomes, kind, shape)]
        if not shapes:
            continue
        figure = Figure(figsize=(5 * len(shapes), 4), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title)
        row = figure.subplots(1, len(shapes), squeeze=False)[0]
        for axes, shape in zip(row, shapes, strict=True):
            fill(axes, _of(outcomes, kind, shape))
            axes.set_title(f"{kind}, {shape}")
        figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        figure.savefig(folder / f"{kind}.png", dpi=150)
        drawn.append(folder / f"{kind}.png")
    return drawn


def _of(outcomes: Mapping[str, PartOutcome], kind: str, shape: str) -> list[Finding]:
    """Findings for a number of tokens, sorted by it."""
    outcome = outcomes.get(f"{kind}-{shape}")
    found = outcome.findings if outcome else ()
    return sorted((one for one in found if one.at is not None), key=lambda one: one.at or 0)


def _decode(axes: "Axes", findings: Iterable[Finding]) -> None:
    """Milliseconds a token, and those that the bandwidth allows."""
    for name in (RECORDED, EAGER):
        measured = [(one.at, one.value) for one in findings if one.name == name and one.value]
        if measured:
            axes.plot(*zip(*measured, strict=True), "o-", label=name)
    bounds = [(one.at, one.least) for one in findings if one.name == RECORDED and one.least]
    if bounds:
        axes.plot(*zip(*bounds, strict=True), "k--", label="roofline: memory bandwidth")
    axes.set(xlabel="tokens in the KV cache", ylabel="ms a token")
    axes.set_ylim(bottom=0)


def _prefill(axes: "Axes", findings: Iterable[Finding]) -> None:
    """The share of the arithmetic peak, by the prompt's length."""
    shares = [(one.at, 100 * one.share) for one in findings if one.share is not None]
    if shares:
        axes.plot(*zip(*shares, strict=True), "o-", label="share of the fp16 peak")
    axes.axhline(45, color="black", linestyle="--", label="goal")
    axes.set(xlabel="tokens of the prompt", ylabel="%", ylim=(0, 100))
