"""The figures that say how far a bundle is from its original."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llava_edge.core.array_types import Floats
from llava_edge.core.bundle_config import Quality, QualityLimits
from llava_edge.errors import UsageError
from llava_edge.runtime.scoring import Targets, log_softmax, losses


@dataclass(frozen=True)
class Outcome:
    """What one side made of a sample: image embeddings [T, D] and logits [P, V] of its targets."""

    picture: Floats | None
    targets: Targets
    logits: Floats


@dataclass(frozen=True)
class Difference:
    """Between two outcomes of a sample, for each of its P targets and its picture's T rows."""

    cosines: Floats  # [T]
    largest_error: float
    divergence: Floats  # [P], in nats
    agreed: NDArray[np.bool_]  # [P]
    losses: Floats  # [P], in nats
    losses_original: Floats  # [P]
    learned: NDArray[np.bool_]  # [P]


def difference(expected: Outcome, found: Outcome) -> Difference:
    """How the bundle's outcome of a sample differs from the original's."""
    cosines, largest = np.empty(0, np.float32), 0.0
    if expected.picture is not None and found.picture is not None:
        cosines = _cosines(expected.picture, found.picture)
        largest = float(np.abs(expected.picture - found.picture).max())
    return Difference(
        cosines=cosines,
        largest_error=largest,
        divergence=_divergence(expected.logits, found.logits),
        agreed=expected.logits.argmax(1) == found.logits.argmax(1),
        losses=losses(found.logits, found.targets),
        losses_original=losses(expected.logits, expected.targets),
        learned=found.targets.learned,
    )


def measure_quality(differences: Sequence[Difference], limits: QualityLimits) -> Quality:
    """The figures of all samples, and which limits they break.

    Raises UsageError where no sample has an answer.
    """
    if not any(one.learned.any() for one in differences):
        raise UsageError("All samples are longer than the model's context; give shorter --records.")
    texts = [one for one in differences if not one.learned.any()]
    answers = [one for one in differences if one.learned.any()]
    divergence = np.concatenate([one.divergence for one in differences])
    pictures = [one for one in differences if len(one.cosines)]
    quality = Quality(
        pictures=len(pictures),
        tokens=len(divergence),
        image_cosine=float(np.mean([one.cosines.mean() for one in pictures] or [1.0])),
        image_max_error=max(one.largest_error for one in differences),
        kl_mean=float(divergence.mean()),
        kl_p99=float(np.quantile(divergence, 0.99)),
        top1_agreement=float(np.concatenate([one.agreed for one in differences]).mean()),
        text_perplexity=_perplexity(one.losses for one in texts),
        text_perplexity_original=_perplexity(one.losses_original for one in texts),
        answer_perplexity=_perplexity(one.losses[one.learned] for one in answers),
        answer_perplexity_original=_perplexity(one.losses_original[one.learned] for one in answers),
        limits=limits,
    )
    return replace(quality, broken=tuple(_broken(quality)))


def _perplexity(losses: Iterable[Floats]) -> float:
    return float(np.exp(np.concatenate(list(losses)).mean()))


def _cosines(a: Floats, b: Floats) -> Floats:
    """The cosines between the rows of two matrices."""
    cosines: Floats = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return cosines


def _divergence(expected: Floats, found: Floats) -> Floats:
    """KL(expected || found) of each row of logits."""
    p, q = log_softmax(expected), log_softmax(found)
    divergence: Floats = (np.exp(p) * (p - q)).sum(1)
    return divergence


def _broken(quality: Quality) -> Iterator[str]:
    limits = quality.limits
    for name in ("image_cosine", "top1_agreement"):
        value, limit = getattr(quality, name), getattr(limits, name)
        if not value >= limit:
            yield f"{name} is {value:.4f}, at least {limit:g} was expected"
    if not quality.kl_mean <= limits.kl_mean:
        yield f"kl_mean is {quality.kl_mean:.4f}, at most {limits.kl_mean:g} was expected"
    for name in ("text", "answer"):
        original = getattr(quality, f"{name}_perplexity_original")
        increase = getattr(quality, f"{name}_perplexity") / original - 1
        if not increase <= limits.perplexity_increase:
            yield (
                f"perplexity_increase of the {name}s is {increase:.4f}, at most "
                f"{limits.perplexity_increase:g} was expected"
            )
