"""The latency of a bundle as a picture."""

from pathlib import Path
from typing import TYPE_CHECKING

from llava_edge.bench.latency import Latency
from llava_edge.core.extras import needed_by
from llava_edge.errors import LlavaEdgeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STACKED = ("picture", "encode", "prefill")  # one after another, they make the first token


def plot_latency(latency: Latency, path: Path) -> None:
    """Draw what a first token is made of, and decode against context; raises LlavaEdgeError."""
    with needed_by("--plot", "bench"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    stacked, against = figure.subplots(1, 2)
    figure.suptitle(f"{latency.bundle} on {latency.machine.cpu}, {latency.machine.threads} threads")
    left = 0.0
    for kind in STACKED:
        stage = next(stage for stage in latency.stages if stage.kind == kind)
        width = 1000 * stage.seconds.median
        stacked.barh([0], [width], left=[left], label=f"{stage.name}: {width:.1f} ms")
        left += width
    stacked.set(xlabel="ms", title="First token about a new picture (medians)", yticks=[])
    stacked.legend(loc="upper left", bbox_to_anchor=(0, -0.15))
    _decode(against, latency)
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:  # a folder that is missing, a format that is unknown
        raise LlavaEdgeError(
            f"{path} cannot be drawn ({error}); name a .png file in a folder that exists."
        ) from error


def _decode(axes: "Axes", latency: Latency) -> None:
    stages = sorted((s for s in latency.stages if s.kind == "decode"), key=lambda s: s.amount)
    contexts = [stage.amount for stage in stages]
    medians = [1000 * stage.seconds.median for stage in stages]
    p95 = [1000 * stage.seconds.p95 for stage in stages]
    axes.plot(contexts, medians, "o-", label="median")
    axes.fill_between(contexts, medians, p95, alpha=0.3, label="to the 95th percentile")
    bounds = [(stage.amount, 1000 * stage.least) for stage in stages if stage.least]
    if bounds:
        axes.plot(*zip(*bounds, strict=True), "k--", label="roofline: memory bandwidth")
    axes.set(xlabel="tokens in the KV cache", ylabel="ms a token", title="Decode")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left")
