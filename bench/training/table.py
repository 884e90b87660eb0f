"""The table of a comparison of training."""

from collections.abc import Callable, Iterator

from rich.table import Table

from llava_edge.bench.machine import Machine
from llava_edge.bench.summary import Ratio, Summary
from llava_edge.bench.training.results import PLAIN, Figures, Results

TITLES = {
    "tokens": "tokens that count in the loss, /s",
    "samples": "samples/s",
    "all_tokens": "all tokens but padding, /s",
}


def training_table(results: Results) -> Table:
    """A column a candidate: medians and quartiles, and ours over plain in brackets."""
    title = f"{results.recipe}, {results.stage}"
    table = Table("", *results.figures, title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for kind, words in TITLES.items():
        table.add_row(words, *(_rate(results, name, kind) for name in results.figures))
    for words, cell in _ROWS.items():
        table.add_row(words, *(cell(found) for found in results.figures.values()))
    table.add_row("peak memory, MB", *(_memory(results, name) for name in results.figures))
    table.caption_justify = "left"
    table.caption = "\n".join(_caption(results))
    return table


def _rate(results: Results, name: str, kind: str) -> str:
    value = _with_quartiles(results.figures[name].rates[kind])
    if name == PLAIN:
        return value
    return f"{value}\n{_ratio(results.ratios[name].rates[kind])}"


def _memory(results: Results, name: str) -> str:
    peak = results.figures[name].peak_memory
    ratio = None if name == PLAIN else results.ratios[name].peak_memory
    value = "" if peak is None else f"{peak / 1e6:,.0f}"
    return value if ratio is None else f"{value}\n[{ratio:.2f}]"


def _with_quartiles(summary: Summary) -> str:
    low, high = summary.quartiles
    return f"{_number(summary.median)} ({_number(low)} to {_number(high)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(ratio: Ratio) -> str:
    return f"[{ratio.median:.2f}; {ratio.low:.2f} to {ratio.high:.2f}]"


_ROWS: dict[str, Callable[[Figures], str]] = {
    "seconds a step": lambda found: _with_quartiles(found.step_seconds),
    "padding": lambda found: f"{found.padding:.1%}",
    "MFU": lambda found: f"{found.mfu:.1%}",
    "loss of the first batch": lambda found: f"{found.first_loss:.5f}",
}


def _caption(results: Results) -> Iterator[str]:
    runs = len(results.rounds[PLAIN])
    yield (
        f"medians and quartiles of {runs} rounds of {results.steps} steps of {results.batch_size} "
        f"records, in {results.precision}; in brackets ours over plain, above 1 where ours is "
        "more: median, smallest and largest of the rounds"
    )
    if results.feature_seconds is not None:
        yield (
            f"computing the features took {1000 * results.feature_seconds:.0f} ms a picture, once "
            "and not counted"
        )
    yield from _describe(results.machine)
    yield ", ".join(f"{name} {version}" for name, version in results.versions.items())


def _describe(machine: Machine) -> Iterator[str]:
    memory = f", {machine.memory / 2**30:.0f} GiB" if machine.memory else ""
    yield f"{machine.cpu}, {machine.threads} threads{memory}, {machine.system}"
    yield f"GPU: {machine.gpu or 'none, so not measured'}"
