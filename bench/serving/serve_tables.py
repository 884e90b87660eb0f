"""What was measured of a server, as tables for people."""

from collections.abc import Iterator

from rich.table import Table

from llava_edge.bench.serving.serve_bench import ServeBench
from llava_edge.bench.serving.serve_overhead import Overhead
from llava_edge.bench.serving.serve_soak import Holdings, Soak
from llava_edge.bench.tables import machine_lines


def serve_table(found: ServeBench) -> Table:
    """A row for each number of clients and kind of picture."""
    table = Table("clients", "picture", "first words", "p95", "tokens/s each", "slowest", "all")
    table.title = found.server
    for column in (table.columns[0], *table.columns[2:]):
        column.justify = "right"
    for load in found.load:
        table.add_row(
            str(load.clients),
            load.picture,
            f"{load.first.median:.2f} s",
            f"{load.first.p95:.2f} s",
            f"{load.tokens_per_second.median:.1f}",
            f"{load.tokens_per_second.minimum:.1f}",
            f"{load.throughput.median:.0f}",
        )
    table.caption_justify = "left"
    table.caption = "\n".join([*machine_lines(found.machine), *_lines(found)])
    return table


def _lines(found: ServeBench) -> Iterator[str]:
    if found.parallel is not None:
        yield f"at most {found.parallel} answers are computed at a time"
    if found.overhead is not None:
        yield from _overhead(found.overhead)
    if found.soak is not None:
        yield from _soak(found.soak)


def _overhead(found: Overhead) -> Iterator[str]:
    more = 1000 * (found.http.median - found.api.median)
    ratio = found.ratio
    yield (
        f"an answer takes {1000 * found.api.median:.1f} ms by the API and {more:.1f} ms more by "
        f"HTTP ({ratio.median:.3f} times, {ratio.low:.3f} to {ratio.high:.3f})"
    )
    yield (
        f"a picture of 12 MP ({found.phone_bytes / 1e6:.1f} MB): first words after "
        f"{found.phone.median:.2f} s (p95 {found.phone.p95:.2f})"
    )


def _soak(found: Soak) -> Iterator[str]:
    yield (
        f"{found.requests:,} requests, {found.given_up:,} given up, {found.failed:,} failed: "
        f"{_held(found.before)} before, {_held(found.after)} after"
    )


def _held(held: Holdings) -> str:
    return f"{held.memory / 1e6:.0f} MB, {held.threads} threads, {held.descriptors} descriptors"
