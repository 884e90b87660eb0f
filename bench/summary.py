"""Summaries of measurements, and ratios between them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Seconds (or what else was measured): median, spread, and of how many runs."""

    median: float
    p95: float  # the 95th percentile
    minimum: float
    quartiles: tuple[float, float]  # the 25th and 75th percentiles
    runs: int


def summarize(samples: Sequence[float]) -> Summary:
    """The summary of at least one sample."""
    first, median, third, p95 = (float(x) for x in np.percentile(samples, (25, 50, 75, 95)))
    return Summary(median, p95, min(samples), (first, third), len(samples))


@dataclass(frozen=True)
class Ratio:
    """How many times as large one thing is as another; 1 where they are alike."""

    median: float
    low: float
    high: float


def ratio_of_summaries(first: Summary, second: Summary) -> Ratio:
    """`second` over `first`: of the medians, and the extremes of their middle halves."""
    return Ratio(
        second.median / first.median,
        second.quartiles[0] / first.quartiles[1],
        second.quartiles[1] / first.quartiles[0],
    )


def ratio_by_rounds(first: Sequence[float], second: Sequence[float]) -> Ratio:
    """`second` over `first`, round by round: median, smallest and largest."""
    ratios = [after / before for before, after in zip(first, second, strict=True)]
    return Ratio(float(np.median(ratios)), min(ratios), max(ratios))
