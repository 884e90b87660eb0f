"""Logits to the next id, greedy or drawn, and how probable it was."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llava_edge.errors import LlavaEdgeError
from llava_edge.runtime.options import Options
from llava_edge.runtime.penalties import Penalties

Logits = npt.NDArray[np.float32]  # [V]


@dataclass(frozen=True)
class TokenLogprob:
    """How probable the model found a token of its answer.

    The probabilities are the model's own: before temperature, penalties, bias and form.

    - id: of the token that was answered.
    - logprob: its log probability, in nats, 0 or less.
    - likeliest: (id, log probability) of the likeliest tokens in its place, the likeliest first; as
      many as Options.logprobs asks for.
    """

    id: int
    logprob: float
    likeliest: tuple[tuple[int, float], ...]


class Sampler:
    """Chooses the ids of one answer; at temperature 0 the likeliest, whatever the seed.

    In this order: repetition penalty, frequency and presence penalties, logit bias, what is
    allowed, temperature, top_k, min_p, top_p. The same options, prompt and logits give the same
    ids. Raises UsageError for a logit bias on an id that the model does not have.
    """

    def __init__(self, options: Options, prompt_ids: Sequence[int], *, vocab_size: int) -> None:
        self._options = options
        self._penalties = Penalties(options, prompt_ids, vocab_size)
        self._random = np.random.default_rng(options.seed)

    @property
    def greedy(self) -> bool:
        """Whether it takes the likeliest of the logits as they are."""
        return self._options.temperature == 0 and not self._penalties

    def __call__(self, logits: Logits, allowed: npt.NDArray[np.bool_] | None = None) -> int:
        """Choose an id from logits [V], which stay as they are, among those allowed [V]."""
        scores = self._penalties(logits) if self._penalties else logits
        if allowed is not None:
            scores = np.where(allowed, scores, np.float32(-np.inf))
        id = int(scores.argmax())
        finite(id, float(scores[id]))
        if self._options.temperature > 0:
            id = self._draw(scores)
        self._penalties.push(id)
        return id

    def _draw(self, scores: Logits) -> int:
        ids, weights = candidates(scores, self._options)
        cumulative = np.cumsum(weights, dtype=np.float64)
        drawn = self._random.random() * cumulative[-1]
        return int(ids[np.searchsorted(cumulative, drawn, side="right")])


def finite(id: int, logit: float) -> int:
    """The id of the largest logit, where that is a number; raises LlavaEdgeError."""
    if not math.isfinite(logit):
        raise LlavaEdgeError(
            f"The next token's logit is {logit}, not a finite number; choose another device, or "
            "export the bundle again."
        )
    return id


def candidates(scores: Logits, options: Options) -> tuple[npt.NDArray[np.intp], Logits]:
    """The ids that may be drawn, rising, and their probabilities relative to the likeliest's.

    Ids that are exactly as likely as the last one kept are kept too.
    """
    with np.errstate(over="ignore"):  # a tiny temperature
        weights = np.exp((scores - scores.max()) * np.float32(1 / max(options.temperature, 1e-30)))
    least = options.min_p
    if 0 < options.top_k < len(weights):
        least = max(least, float(np.partition(weights, -options.top_k)[-options.top_k]))
    if options.top_p < 1:
        least = _least_of_top_p(weights[weights >= least], options.top_p)
    ids = np.flatnonzero(weights >= least)
    return ids, weights[ids]


def _least_of_top_p(weights: Logits, top_p: float) -> float:
    """The least weight among the largest that together reach top_p of the sum."""
    wanted = top_p * weights.sum(dtype=np.float64)
    for floor in (0.01, 0.0001, 0.0):  # few are large: sorting those suffices
        largest = weights[weights >= floor]
        if largest.sum(dtype=np.float64) >= wanted:
            break
    falling = np.sort(largest)[::-1]
    cumulative = np.cumsum(falling, dtype=np.float64)
    last = np.searchsorted(cumulative, wanted)
    return float(falling[min(last, len(falling) - 1)])


def log_probabilities(logits: Logits, chosen_id: int, count: int) -> TokenLogprob:
    """What the model itself says of an id and of its `count` likeliest ids.

    From its own logits [V]: before penalties, bias, constraint and temperature.
    """
    top = logits.max()
    log_sum = float(top) + math.log(np.exp(logits - top).sum(dtype=np.float64))
    count = min(count, len(logits))
    ids = np.argpartition(logits, -count)[-count:] if count else np.array([], dtype=np.intp)
    likeliest = sorted((-float(logits[id]), int(id)) for id in ids)
    return TokenLogprob(
        id=chosen_id,
        logprob=float(logits[chosen_id]) - log_sum,
        likeliest=tuple((id, -negative - log_sum) for negative, id in likeliest),
    )
