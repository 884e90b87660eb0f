"""A bundle and its peers, measured in turns: `llava-edge bench peers`.

Every candidate is a process of its own, and only one is asked at a time. In a round, each one reads
and decodes tokens, answers two turns about a new picture, and is started once in a new process. The
first round warms up and is left out; rounds begin with different candidates.
"""

import shlex
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console
from rich.progress import track

from llava_edge.bench.machine_info import describe_machine, library_version
from llava_edge.bench.peers.candidate import PeerSettings
from llava_edge.bench.peers.peer_process import Worker, start_llava_edge, start_peer
from llava_edge.bench.peers.peer_results import OURS, WITHOUT_TOWER, PeerResults, Sizes, ratios
from llava_edge.bench.peers.question import PeerQuestion, make_question
from llava_edge.errors import LlavaEdgeError, UsageError
from llava_edge.runtime.model import Llava

LIBRARIES = ("llama-cpp-python", "torch", "transformers", "onnxruntime-genai")

QUESTIONS = 2048  # tokens of context that two turns about a picture may take

Samples = dict[str, dict[str, list[float]]]  # candidate -> stage -> seconds by round


@dataclass(frozen=True)
class PeerComparison:
    """What every candidate is asked, and how often."""

    images: Sequence[Path]
    prompt: str
    runs: int
    sizes: Sizes
    starts: bool = True  # whether whole processes are started and timed too


def compare_peers(
    model: Llava, peers: Iterable[PeerSettings], plan: PeerComparison, left_out: dict[str, str]
) -> PeerResults:
    """Ask llava-edge and its peers in turns; a peer that fails is left out, with the reason."""
    candidates = [our_settings(model, plan.sizes), *peers]
    with TemporaryDirectory() as folder, _workers(candidates, left_out) as workers:
        samples, tokens = _rounds(model, workers, plan, Path(folder), left_out)
        peaks = {name: worker.ask("memory")["peak"] for name, worker in workers.items()}
    return PeerResults(
        command=shlex.join(["llava-edge", *sys.argv[1:]]),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=describe_machine(model.device),
        versions={name: library_version(name) for name in LIBRARIES},
        bundle=model.config.name,
        sizes=plan.sizes,
        question_tokens=tokens,
        rounds={
            name: {stage: tuple(seconds) for stage, seconds in samples[name].items()}
            for name in workers
        },
        ratios=ratios({name: samples[name] for name in workers}),
        peak_memory={name: None if peak is None else int(peak) for name, peak in peaks.items()},
        left_out=left_out,
    )


def our_settings(model: Llava, sizes: Sizes) -> PeerSettings:
    """The settings of llava-edge itself, whose threads and context the peers get too."""
    limit, needed = model.config.decoder.context_length, sizes.context + sizes.tokens
    if needed > limit:
        raise UsageError(
            f"Peers are compared with {needed:,} tokens in the context, but this bundle's holds "
            f"{limit:,}; give another bundle."
        )
    threads = describe_machine(model.device).threads
    return PeerSettings(
        OURS,
        "ours",
        model.path,
        threads,
        min(limit, max(needed, QUESTIONS)),
        device=model.device.name,
    )


@contextmanager
def _workers(
    candidates: Iterable[PeerSettings], left_out: dict[str, str]
) -> Iterator[dict[str, Worker]]:
    workers: dict[str, Worker] = {}
    try:
        for settings in candidates:
            try:
                workers[settings.name] = Worker(settings)
            except LlavaEdgeError as error:
                _leave_out(settings.name, error, left_out)
        yield workers
    finally:
        for worker in workers.values():
            worker.close()


def _rounds(
    model: Llava,
    workers: dict[str, Worker],
    plan: PeerComparison,
    folder: Path,
    left_out: dict[str, str],
) -> tuple[Samples, int]:
    """Seconds of every stage by candidate, and the tokens of a question."""
    samples: Samples = defaultdict(lambda: defaultdict(list))
    tokens = 0
    console = Console(stderr=True)
    numbers = range(plan.runs + 1)
    for number in track(numbers, "Rounds", console=console, auto_refresh=False, transient=True):
        image = plan.images[number % len(plan.images)]
        question = make_question(model, image, plan.prompt, number, folder)
        tokens = question.tokens
        for name in rotated(list(workers), number):
            try:
                found = list(_round(model, workers[name], question, plan))
            except LlavaEdgeError as error:
                _leave_out(name, error, left_out)
                workers.pop(name).close()
                continue
            for stage, seconds in found if number else ():
                samples[name][stage].append(seconds)
    return samples, tokens


def rotated(names: list[str], number: int) -> list[str]:
    """The names in their order, beginning at another one for each number."""
    first = number % len(names)
    return names[first:] + names[:first]


def _round(
    model: Llava, worker: Worker, question: PeerQuestion, plan: PeerComparison
) -> Iterator[tuple[str, float]]:
    """A candidate's seconds, stage by stage."""
    random, sizes = np.random.default_rng(0), plan.sizes
    ids = random.integers(0, model.config.decoder.vocab_size, sizes.context).tolist()
    yield from worker.ask("speed", ids=ids, prefill=sizes.prefill, tokens=sizes.tokens).items()
    found = worker.ask("question", **question.fields())
    merges = worker.settings.module == "transformers_cpu"  # its checkpoint first, not once
    if plan.starts and not merges:
        start = start_llava_edge if worker.settings.name == OURS else start_peer
        found["start"] = start(worker.settings, question)
    for stage, seconds in found.items():
        if worker.settings.lacks_tower and stage != "follow-up":
            yield stage + WITHOUT_TOWER, seconds
            yield stage, seconds + question.tower_seconds
        else:
            yield stage, seconds


def _leave_out(name: str, error: LlavaEdgeError, left_out: dict[str, str]) -> None:
    if name == OURS:
        raise error
    left_out[name] = str(error)
