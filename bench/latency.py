"""How long each stage of an answer takes, and how much memory.

    llava-edge bench latency BUNDLE --image photo.jpg

A warm-up run is left out. Each run goes through all stages, so that a disturbance meets them alike.
Loading is measured in a new process, with the import of onnxruntime, while the files are in the
system's cache. Each picture has a box painted on it, so that the encoder has not seen it before.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import track

from llava_edge.bench.answer_stages import AnswerPlan, StageKind, StageTime, run_through
from llava_edge.bench.call_runtime import open_bundle
from llava_edge.bench.defaults import CONTEXTS, PROMPT, RUNS, TOKENS
from llava_edge.bench.machine_info import Machine, describe_machine, gpu_memory
from llava_edge.bench.machine_limits import Limits, measure_limits
from llava_edge.bench.roofline import Roofline, roofline
from llava_edge.bench.summary import Summary, summarize
from llava_edge.core.machine import peak_memory
from llava_edge.core.strict import parse
from llava_edge.errors import UsageError
from llava_edge.runtime.devices.device import CPU
from llava_edge.runtime.model import Llava


@dataclass(frozen=True)
class TimedStage:
    """Seconds that a stage took, and the fewest that the machine's limits allow, where known."""

    name: str
    kind: StageKind
    amount: int  # as a StageTime's
    seconds: Summary
    least: float | None = None


@dataclass(frozen=True)
class Latency:
    """A bundle's latency on a machine; memory in bytes, with that of the benchmark itself."""

    bundle: str
    date: str
    machine: Machine
    limits: Limits | None  # None on a GPU, whose limits are not measured
    stages: tuple[TimedStage, ...]
    peak_memory: int | None
    gpu_memory: int | None


def latency(
    bundle: Path | str | None,
    images: Sequence[Path],
    prompt: str = PROMPT,
    *,
    tokens: int = TOKENS,
    runs: int = RUNS,
    contexts: Sequence[int] | None = None,
    device: str = "auto",
) -> Latency:
    """Measure all stages, run by run; raises UsageError, and the errors of loading and asking."""
    if not images:
        raise UsageError("No picture is given to ask about; name one with --image.")
    model = open_bundle(bundle, device)
    plan = AnswerPlan(images, prompt, tokens, _contexts(contexts, tokens, model))
    samples: list[StageTime] = []
    for run in track(
        range(runs + 1), "Runs", console=Console(stderr=True), auto_refresh=False, transient=True
    ):
        found = list(run_through(model, plan, run))
        samples += found if run else []
    peak, gpu = peak_memory(), gpu_memory(model.device)  # before the limits take theirs
    machine = describe_machine(model.device)
    limits = measure_limits(machine.threads) if machine.provider == CPU.provider else None
    return Latency(
        bundle=model.config.name,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine,
        limits=limits,
        stages=tuple(summed_up(samples, _roofline(model, limits))),
        peak_memory=peak,
        gpu_memory=gpu,
    )


def read_latency(path: Path) -> Latency:
    """Read a file of --json-out; raises UsageError for any other file."""
    try:
        return parse(Latency, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} is not a latency file ({' '.join(str(error).split())}); "
            "give one that `llava-edge bench latency --json-out` wrote."
        ) from error


def as_json(latency: Latency) -> str:
    """The result as one line of JSON."""
    return json.dumps(asdict(latency))


def _contexts(wanted: Sequence[int] | None, tokens: int, model: Llava) -> Sequence[int]:
    room = model.decoder.context - tokens
    if wanted is None:
        return [context for context in CONTEXTS if context <= room]
    if wrong := [context for context in wanted if not 0 < context <= room]:
        raise UsageError(
            f"--contexts holds {wrong[0]:,}, but 1 to {room:,} tokens fit before the "
            f"{tokens} that are decoded; give other contexts."
        )
    return wanted


def _roofline(model: Llava, limits: Limits | None) -> Roofline | None:
    if limits is None:
        return None
    floats, whole_numbers = limits.float32, limits.int8
    return roofline(model, limits.bandwidth, floats=floats, whole_numbers=whole_numbers)


def summed_up(samples: Iterable[StageTime], roof: Roofline | None) -> Iterable[TimedStage]:
    """Summarize the samples of each stage, with its roofline where one is given."""
    by_name: dict[str, list[StageTime]] = defaultdict(list)
    for sample in samples:
        by_name[sample.name].append(sample)
    for name, same in by_name.items():
        kind, amount = same[0].kind, same[0].amount
        least = roof.least(kind, amount) if roof else None
        yield TimedStage(name, kind, amount, summarize([one.seconds for one in same]), least)
