"""What a part of a campaign finds, and the file that holds it."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from llava_edge.bench.answer_stages import StageTime
from llava_edge.bench.latency import summed_up
from llava_edge.bench.roofline import Roofline
from llava_edge.bench.summary import Ratio, Summary
from llava_edge.core.files import write_atomically
from llava_edge.core.strict import parse
from llava_edge.errors import UsageError


@dataclass(frozen=True)
class Finding:
    """One result: a number or words; `at` is the number of tokens that it is for."""

    name: str
    value: float | None = None
    unit: str = ""
    words: str = ""
    at: int | None = None
    least: float | None = None  # by the roofline, in the same unit
    quartiles: tuple[float, float] | None = None
    runs: int = 1
    ratio: Ratio | None = None  # a peer's over llava-edge's, round by round

    @property
    def share(self) -> float | None:
        """The share of the roofline that a time reaches."""
        return self.least / self.value if self.least and self.value else None


@dataclass(frozen=True)
class LeftOut:
    """What did not run, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class PartOutcome:
    """How a part ended; one that is only `begun` was cut off and runs again."""

    part: str
    state: Literal["begun", "done", "failed"] = "begun"
    seconds: float = 0.0
    findings: tuple[Finding, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    def plus(self, found: Finding | LeftOut) -> "PartOutcome":
        """The outcome with one more finding."""
        if isinstance(found, Finding):
            return replace(self, findings=(*self.findings, found))
        return replace(self, left_out=(*self.left_out, found))

    def value(self, name: str) -> float | None:
        """The largest value of findings with this name."""
        values = [one.value for one in self.findings if one.name == name and one.value is not None]
        return max(values, default=None)


def write_outcome(path: Path, outcome: PartOutcome) -> None:
    """Write JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(asdict(outcome), indent=1) + "\n")


def read_outcome(path: Path) -> PartOutcome | None:
    """Read an outcome, None if the part has not begun; raises UsageError for another file."""
    if not path.exists():
        return None
    try:
        return parse(PartOutcome, json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise UsageError(
            f"{path} is damaged ({error}); remove it, and its part runs again."
        ) from error


def timings(samples: Iterable[StageTime], roof: Roofline | None) -> Iterator[Finding]:
    """Findings of the samples, stage by stage, with the roofline."""
    for stage in summed_up(samples, roof):
        counted = stage.kind in ("decode", "prefill")  # tokens, which stand apart from the name
        name, at = (stage.kind, stage.amount) if counted else (stage.name, None)
        yield timing(name, stage.seconds, at=at, least=stage.least)


def timing(
    name: str,
    seconds: Summary,
    *,
    at: int | None = None,
    least: float | None = None,
    ratio: Ratio | None = None,
) -> Finding:
    """A finding of seconds, which it holds in milliseconds."""
    low, high = seconds.quartiles
    return Finding(
        name,
        1000 * seconds.median,
        "ms",
        at=at,
        least=None if least is None else 1000 * least,
        quartiles=(1000 * low, 1000 * high),
        runs=seconds.runs,
        ratio=ratio,
    )
