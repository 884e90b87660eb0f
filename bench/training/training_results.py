"""What a comparison of training found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from llava_edge.bench.machine_info import Machine
from llava_edge.bench.summary import Ratio, Summary, ratio_by_rounds, summarize
from llava_edge.bench.training.meter import MeteredBlock

OURS, CACHED, PLAIN = "ours", "ours, cached features", "plain Trainer"

TrainingRounds = Mapping[str, Sequence[MeteredBlock]]

RATES: dict[str, Callable[[MeteredBlock], float]] = {  # a second
    "samples": lambda block: block.samples / block.seconds,
    "tokens": lambda block: block.labels / block.seconds,  # that count in the loss
    "all_tokens": lambda block: block.tokens / block.seconds,
}


@dataclass(frozen=True)
class Figures:
    """The figures of one candidate over all rounds."""

    rates: dict[str, Summary]  # the keys of RATES, each a second
    step_seconds: Summary
    padding: float  # the share of positions that hold no token
    mfu: float  # of the median round, 0..1
    peak_memory: int | None  # bytes
    first_loss: float  # before anything has learnt; alike, since the model and the records are


@dataclass(frozen=True)
class Comparison:
    """A candidate of llava-edge over the plain Trainer; 1 if they are alike."""

    rates: dict[str, Ratio]  # ours over plain
    peak_memory: float | None


@dataclass(frozen=True)
class TrainingResults:
    """All that was measured; `feature_seconds` is the time to compute a picture's features."""

    command: str
    date: str
    machine: Machine
    versions: dict[str, str]
    recipe: str
    stage: str
    batch_size: int
    precision: str
    steps: int  # a round
    peak_operations: float  # a second
    feature_seconds: float | None
    figures: dict[str, Figures]
    ratios: dict[str, Comparison]
    rounds: dict[str, tuple[MeteredBlock, ...]]


def figures(blocks: Sequence[MeteredBlock], first_loss: float, peak_operations: float) -> Figures:
    """A candidate's rounds in a few numbers."""
    positions = sum(block.positions for block in blocks)
    speed = summarize([block.operations / block.seconds for block in blocks])
    return Figures(
        rates={name: summarize([rate(b) for b in blocks]) for name, rate in RATES.items()},
        step_seconds=summarize([block.seconds / block.steps for block in blocks]),
        padding=1 - sum(block.tokens for block in blocks) / positions,
        mfu=speed.median / peak_operations,
        peak_memory=blocks[-1].peak_memory,
        first_loss=first_loss,
    )


def comparisons(rounds: TrainingRounds) -> dict[str, Comparison]:
    """Every candidate but the plain one beside it, round by round."""
    plain = rounds[PLAIN]
    return {
        name: Comparison(
            rates={
                kind: ratio_by_rounds([rate(b) for b in plain], [rate(b) for b in blocks])
                for kind, rate in RATES.items()
            },
            peak_memory=_ratio(blocks[-1].peak_memory, plain[-1].peak_memory),
        )
        for name, blocks in rounds.items()
        if name != PLAIN
    }


def _ratio(ours: int | None, plain: int | None) -> float | None:
    return ours / plain if ours is not None and plain is not None else None
