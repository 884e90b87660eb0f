"""Tables of latencies, for people."""

from collections.abc import Iterable

from rich.table import Table

from llava_edge.bench.compare_latency import Change
from llava_edge.bench.latency import Latency, TimedStage
from llava_edge.bench.machine_info import Machine


def latency_table(latency: Latency) -> Table:
    """Stages in milliseconds, with the share of the roofline that they reach."""
    table = Table("ms", "median", "p95", "min", "runs", "roofline", "share", title=latency.bundle)
    for column in table.columns[1:]:
        column.justify = "right"
    for stage in latency.stages:
        seconds = stage.seconds
        values = (seconds.median, seconds.p95, seconds.minimum)
        table.add_row(stage.name, *map(_ms, values), str(seconds.runs), *_bound(stage))
    table.caption_justify = "left"
    table.caption = "\n".join(
        (*machine_lines(latency.machine), *_memory(latency), *_limits(latency))
    )
    return table


def comparison_table(changes: Iterable[Change], first: str, second: str) -> Table:
    """Medians of two files in milliseconds, and their ratio with its spread."""
    table = Table("ms", first, second, "ratio", "of the middle halves")
    for column in table.columns[1:]:
        column.justify = "right"
    for change in changes:
        ratio = change.ratio
        spread = f"{ratio.low:.2f} to {ratio.high:.2f}"
        medians = (_ms(change.first), _ms(change.second))
        table.add_row(change.name, *medians, f"{ratio.median:.2f}", spread)
    table.caption_justify = "left"
    table.caption = (
        "ratio: second over first, below 1 if the second is faster; the spread compares the "
        "quartiles, and if it contains 1 the files do not tell which is faster"
    )
    return table


def machine_lines(machine: Machine) -> list[str]:
    """What a table says about the machine, line by line."""
    memory = f", {machine.memory / 2**30:.0f} GiB" if machine.memory else ""
    gpu = f", {machine.gpu}" if machine.gpu else ""
    kind = f" ({machine.instructions})" if machine.instructions else ""
    return [
        f"{machine.cpu}{kind}, {machine.threads} threads{memory}{gpu}, {machine.system}",
        f"llava_edge {machine.llava_edge}, onnxruntime {machine.onnxruntime} "
        f"({machine.provider}), Python {machine.python}",
    ]


def _ms(seconds: float) -> str:
    milliseconds = 1000 * seconds
    return f"{milliseconds:,.0f}" if milliseconds >= 100 else f"{milliseconds:.2f}"


def _bound(stage: TimedStage) -> tuple[str, str]:
    if stage.least is None:
        return "", ""
    return _ms(stage.least), f"{stage.least / stage.seconds.median:.0%}"


def _memory(latency: Latency) -> list[str]:
    peaks = {"peak memory": latency.peak_memory, "GPU memory": latency.gpu_memory}
    found = [f"{name} {size / 1e6:,.0f} MB" for name, size in peaks.items() if size]
    return [", ".join(found)] if found else []


def _limits(latency: Latency) -> list[str]:
    if (limits := latency.limits) is None:
        return []
    return [
        f"limits: reads {limits.bandwidth / 1e9:.1f} GB/s, {limits.float32 / 1e9:,.0f} GFLOPS in "
        f"float32, {limits.int8 / 1e9:,.0f} GOPS of 8-bit integers"
    ]
