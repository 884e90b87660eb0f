"""What a campaign found: gpu.json for programs and table.md for people."""

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from llava_edge.bench.gpu.campaign import Campaign
from llava_edge.bench.gpu.findings import Finding, LeftOut, PartOutcome
from llava_edge.bench.gpu.goals import Goal, goals
from llava_edge.bench.gpu.parts import CampaignPart, left_for_later
from llava_edge.bench.machine_info import Machine, describe_machine, library_version
from llava_edge.bench.tables import machine_lines
from llava_edge.core.files import write_atomically

LIBRARIES = ("torch", "transformers", "bitsandbytes", "peft", "llama-cpp-python")
JSON, TABLE = "gpu.json", "table.md"


@dataclass(frozen=True)
class CampaignReport:
    """All that is known so far."""

    command: str
    date: str
    size: Literal["tiny", "full"]
    machine: Machine
    versions: dict[str, str]
    goals: tuple[Goal, ...]
    parts: dict[str, PartOutcome]
    left_out: tuple[LeftOut, ...]  # parts, and what parts left out


def report(campaign: Campaign, parts: Sequence[CampaignPart]) -> CampaignReport:
    """Collect the outcomes of the parts that have run."""
    found = {part.name: campaign.outcome(part.name) for part in parts}
    outcomes = {name: outcome for name, outcome in found.items() if outcome is not None}
    judged = campaign.device == "cuda" and campaign.size == "full"
    return CampaignReport(
        command=shlex.join(["python", "-m", "llava_edge.bench.gpu", *sys.argv[1:]]),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        size=campaign.size,
        machine=describe_machine(campaign.gpu),
        versions={name: library_version(name) for name in LIBRARIES},
        goals=tuple(goals(outcomes)) if judged else (),
        parts=outcomes,
        left_out=tuple(_left_out(campaign, parts, outcomes)),
    )


def title(found: CampaignReport) -> str:
    """What was measured, in a few words."""
    return f"{found.machine.gpu or found.machine.provider}, size {found.size}"


def write_report(campaign: Campaign, found: CampaignReport) -> None:
    """Write both files into the campaign's folder."""
    write_atomically(campaign.folder / JSON, json.dumps(asdict(found)) + "\n")
    write_atomically(campaign.folder / TABLE, as_table(found))


def _left_out(
    campaign: Campaign, parts: Sequence[CampaignPart], outcomes: dict[str, PartOutcome]
) -> Iterator[LeftOut]:
    later = left_for_later(campaign, parts)
    for part in parts:
        outcome = outcomes.get(part.name)
        if outcome is not None and outcome.state != "begun":
            for one in outcome.left_out:
                yield LeftOut(f"{part.name}: {one.what}", one.why)
            continue
        turn = "it was cut off, and runs again" if outcome else "its turn has not come"
        why = turn if part in later else part.obstacle(campaign)
        yield LeftOut(f"{part.name}: {part.asks}", why)


def as_table(found: CampaignReport) -> str:
    """The report as Markdown."""
    return "\n".join([*_head(found), *_goals(found), *_parts(found), *_rest(found)]) + "\n"


def _head(found: CampaignReport) -> Iterator[str]:
    yield f"# {title(found)}"
    yield ""
    for line in machine_lines(found.machine):
        yield f"- {line}"
    yield f"- {', '.join(f'{name} {version}' for name, version in found.versions.items())}"
    yield f"- `{found.command}`, {found.date}"
    yield (
        "- times are medians; a ratio is a peer's time over llava-edge's, that with zero points "
        "over that without, or the rate of training over a plain Trainer's: the median of the "
        "rounds, the smallest and the largest"
    )


def _goals(found: CampaignReport) -> Iterator[str]:
    if not found.goals:
        return
    yield from ("", "## Goals", "", "| goal | found | |", "| --- | --- | --- |")
    for goal in found.goals:
        yield _row(goal.wanted, goal.found, "met" if goal.met else "**missed**")


def _parts(found: CampaignReport) -> Iterator[str]:
    header = ("", "tokens", "found", "", "middle half", "roofline", "share", "ratio")
    for name, outcome in found.parts.items():
        yield from ("", f"## {name}: {outcome.state} after {outcome.seconds:.0f} s")
        if not outcome.findings:
            continue
        used = [
            0,
            *(i for i in range(1, len(header)) if any(_cells(f)[i] for f in outcome.findings)),
        ]
        yield from ("", _row(*(header[i] for i in used)), _row(*("---" for _ in used)))
        for finding in outcome.findings:
            cells = _cells(finding)
            yield _row(*(cells[i] for i in used))


def _cells(one: Finding) -> tuple[str, ...]:
    value = "" if one.value is None else f"{_number(one.value)} {one.unit}".strip()
    quartiles = " to ".join(map(_number, one.quartiles)) if one.quartiles else ""
    ratio = one.ratio
    return (
        one.name,
        f"{one.at:,}" if one.at is not None else "",
        value,
        one.words,
        f"{quartiles} of {one.runs}" if one.quartiles else "",
        _number(one.least) if one.least is not None else "",
        f"{one.share:.0%}" if one.share is not None else "",
        f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})" if ratio else "",
    )


def _rest(found: CampaignReport) -> Iterator[str]:
    if not found.left_out:
        return
    yield from ("", "## What did not run, and why", "", "| what | why |", "| --- | --- |")
    for one in found.left_out:
        yield _row(one.what, one.why)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
