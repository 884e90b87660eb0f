"""Two latency files side by side: before and after, or one bundle and another."""

from collections.abc import Iterator
from dataclasses import dataclass

from llava_edge.bench.latency import Latency
from llava_edge.bench.summary import Ratio, ratio_of_summaries


@dataclass(frozen=True)
class Change:
    """A stage that both files have: medians in seconds, and second over first."""

    name: str
    first: float
    second: float
    ratio: Ratio


def compare(first: Latency, second: Latency) -> Iterator[Change]:
    """The stages that both have, in the first one's order."""
    after = {stage.name: stage for stage in second.stages}
    for stage in first.stages:
        if other := after.get(stage.name):
            ratio = ratio_of_summaries(stage.seconds, other.seconds)
            yield Change(stage.name, stage.seconds.median, other.seconds.median, ratio)


def warning(first: Latency, second: Latency) -> str | None:
    """A sentence where the files do not come from one and the same machine."""
    names = ("cpu", "threads", "memory", "gpu", "provider")
    for name in names:
        one, other = (getattr(latency.machine, name) for latency in (first, second))
        if one != other:
            return (
                f"The files come from different machines ({name}: {one} and {other}), so their "
                "ratios say little about the code; measure both on one machine."
            )
    return None
