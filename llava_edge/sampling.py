"""Logits to the next id: greedy, or drawn by temperature and top-p."""

import math

import numpy as np
import numpy.typing as npt

from llava_edge.errors import UsageError


class Sampler:
    """Chooses ids; at temperature 0 the likeliest one, whatever the seed.

    `top_p` draws among the likeliest ids that together have at least that probability. The same
    seed and logits give the same ids. Raises UsageError for values out of range.
    """

    def __init__(
        self, *, temperature: float = 0.0, top_p: float = 1.0, seed: int | None = None
    ) -> None:
        if not (math.isfinite(temperature) and temperature >= 0):
            raise UsageError(f"The temperature is {temperature}; give 0 (greedy) or more.")
        if not 0 < top_p <= 1:
            raise UsageError(f"top_p is {top_p}; give a number above 0 and at most 1.")
        if seed is not None and seed < 0:
            raise UsageError(f"The seed is {seed}; give a whole number of 0 or more.")
        self._temperature = temperature
        self._top_p = top_p
        self._random = np.random.default_rng(seed)

    def __call__(self, logits: npt.NDArray[np.float32]) -> int:
        """Choose an id from logits [V]."""
        if self._temperature == 0:
            return int(logits.argmax())
        with np.errstate(over="ignore"):  # a tiny temperature
            scaled = (logits - logits.max()).astype(np.float64) / self._temperature
        weights = np.exp(scaled)  # [V], the likeliest is 1
        order = np.argsort(-weights, kind="stable")
        cumulative = np.cumsum(weights[order])
        last = int(np.searchsorted(cumulative, self._top_p * cumulative[-1]))  # of those kept
        drawn = self._random.random() * cumulative[last]
        return int(order[np.searchsorted(cumulative[:last], drawn, side="right")])
