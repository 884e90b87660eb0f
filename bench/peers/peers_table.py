"""The table of a comparison with peers."""

from itertools import product

from rich.table import Table

from llava_edge.bench.peers.peer_results import OURS, WITHOUT_TOWER, PeerResults
from llava_edge.bench.summary import Ratio, summarize
from llava_edge.bench.tables import machine_lines


def peers_table(results: PeerResults) -> Table:
    """A column for each candidate: medians, and below them the peer's time over llava-edge's."""
    sizes = results.sizes
    titles = {
        "prefill": f"prefill of {sizes.prefill} tokens, tokens/s",
        "decode": f"decode after {sizes.context} tokens, tokens/s",
        "question": f"new picture ({results.question_tokens} tokens), s",
        "follow-up": "second question about it, s",
        "start": "process start to first word, s",
    }
    tokens = {"prefill": sizes.prefill, "decode": 1}
    table = Table("", *results.rounds, title=results.bundle)
    measured = {stage for found in results.rounds.values() for stage in found}
    for (base, title), end in product(titles.items(), ("", WITHOUT_TOWER)):
        if (stage := base + end) in measured:
            cells = [_cell(results, name, stage, tokens.get(stage)) for name in results.rounds]
            table.add_row(title + end, *cells, end_section=True)
    table.add_row("peak memory, MB", *(_memory(results.peak_memory[n]) for n in results.rounds))
    runs = len(results.rounds[OURS]["decode"])
    table.caption_justify = "left"
    table.caption = "\n".join(
        (
            f"medians of {runs} rounds; in brackets the peer's time over llava-edge's: median, "
            "smallest and largest of the rounds",
            *machine_lines(results.machine),
            *(reason for reason in results.left_out.values()),
        )
    )
    return table


def _cell(results: PeerResults, name: str, stage: str, tokens: int | None) -> str:
    if stage not in results.rounds[name]:
        return ""
    median = summarize(results.rounds[name][stage]).median
    value = f"{tokens / median:,.0f}" if tokens else f"{median:.3f}"
    return value if name == OURS else f"{value}\n{_ratio(results.ratios[name][stage])}"


def _ratio(ratio: Ratio) -> str:
    return f"[{ratio.median:.2f}; {ratio.low:.2f} to {ratio.high:.2f}]"


def _memory(peak: int | None) -> str:
    return "" if peak is None else f"{peak / 1e6:,.0f}"
