"""The table of a comparison of training."""

from collections.abc import Iterator

from rich.table import Table

from llava_edge.bench.machine_info import Machine
from llava_edge.bench.summary import Summary
from llava_edge.bench.training.training_results import Figures, TrainingResults

RATES = {
    "tokens": "tokens that count, /s",
    "samples": "samples/s",
    "all_tokens": "all tokens, /s",
}


def training_table(results: TrainingResults) -> Table:
    """A column for each candidate: medians of the rounds, and ratios over the plain Trainer."""
    table = Table("", *results.figures, title=f"{results.recipe}, {results.stage}")
    for column in table.columns[1:]:
        column.justify = "right"
    for kind, words in RATES.items():
        table.add_row(words, *(_number(f.rates[kind].median) for f in results.figures.values()))
        table.add_row("  over plain", *_ratios(results, kind))
    for row in zip(*map(_cells, results.figures.values()), strict=True):
        table.add_row(row[0][0], *(cell for _, cell in row))
    table.add_row("  over plain", *_memory_ratios(results))
    table.caption_justify = "left"
    table.caption = "\n".join(_caption(results))
    return table


def _cells(found: Figures) -> Iterator[tuple[str, str]]:
    peak = found.peak_memory
    yield "seconds a step", _number(found.step_seconds.median)
    yield "  middle half", _quartiles(found.step_seconds)
    yield "padding", f"{found.padding:.1%}"
    yield "MFU", f"{found.mfu:.1%}"
    yield "first loss", f"{found.first_loss:.5f}"
    yield "peak memory, MB", "" if peak is None else f"{peak / 1e6:,.0f}"


def _ratios(results: TrainingResults, kind: str) -> Iterator[str]:
    for comparison in results.ratios.values():
        ratio = comparison.rates[kind]
        yield f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def _memory_ratios(results: TrainingResults) -> Iterator[str]:
    for comparison in results.ratios.values():
        yield "" if comparison.peak_memory is None else f"{comparison.peak_memory:.2f}"


def _quartiles(summary: Summary) -> str:
    low, high = summary.quartiles
    return f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _caption(results: TrainingResults) -> Iterator[str]:
    rounds = len(next(iter(results.rounds.values())))
    yield (
        f"medians of {rounds} rounds, each of {results.steps} steps of {results.batch_size} "
        f"records in {results.precision}; over plain: median, smallest and largest of the rounds"
    )
    if (seconds := results.feature_seconds) is not None:
        yield f"features: {1000 * seconds:.0f} ms a picture, once before training, not counted"
    yield from _describe(results.machine)
    yield ", ".join(f"{name} {version}" for name, version in results.versions.items())


def _describe(machine: Machine) -> Iterator[str]:
    memory = f", {machine.memory / 2**30:.0f} GiB" if machine.memory else ""
    yield f"{machine.cpu}, {machine.threads} threads{memory}, {machine.system}"
    yield f"GPU: {machine.gpu or 'not measured'}"
