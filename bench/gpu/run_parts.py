"""Runs the parts of a campaign, each in a process of its own, within a time."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from llava_edge.bench.gpu.campaign import Campaign, as_json
from llava_edge.bench.gpu.findings import LeftOut, PartOutcome, write_outcome
from llava_edge.bench.gpu.parts import CampaignPart

ENDING = 15  # seconds that are kept for the table and the plots
PATIENCE, LEAST = 3, 240  # a part may take so many times its estimate, or so many seconds


@dataclass(frozen=True)
class Limit:
    """How many seconds a part may take, and whether no later call could give it more."""

    seconds: float
    final: bool


def run_parts(
    campaign: Campaign,
    parts: Sequence[CampaignPart],
    seconds: float,
    *,
    again: bool,
    tell: Callable[[str], None],
) -> None:
    """Run what is not settled and for which there is time; `tell` gets lines about each part."""
    end = time.monotonic() + seconds - ENDING
    begun = 0
    for part in parts:
        if part.settled(campaign, again=again) or part.obstacle(campaign):
            continue
        room, estimate = end - time.monotonic(), part.estimate(campaign)
        if estimate > room:
            continue  # a shorter one may fit
        tell(f"{part.name}: {part.asks} (about {estimate} s)")
        longest = max(LEAST, PATIENCE * estimate)
        outcome = _run(campaign, part, Limit(min(longest, room), longest <= room or not begun))
        begun += 1
        tell(f"  {outcome.state} after {outcome.seconds:.0f} s{_why(outcome)}")


def _why(outcome: PartOutcome) -> str:
    return f": {outcome.left_out[-1].why}" if outcome.state == "failed" else ""


def _run(campaign: Campaign, part: CampaignPart, limit: Limit) -> PartOutcome:
    """Run one part; if its process could not say how it ended, say it here."""
    start = time.monotonic()
    write_outcome(campaign.outcome_file(part.name), PartOutcome(part.name))
    log = campaign.log(part.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "llava_edge.bench.gpu.part_process"]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*command, as_json(campaign), json.dumps(asdict(part))],
            stdin=subprocess.PIPE,  # which ends with this process
            stdout=output,
            stderr=output,
            start_new_session=True,
        ) as process,
    ):
        try:
            code: int | None = process.wait(limit.seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:  # also where the campaign is stopped
            _end(process)
    outcome = campaign.outcome(part.name) or PartOutcome(part.name)
    if outcome.state != "begun":
        return outcome
    if code is None and not limit.final:
        return outcome
    why = f"{_death(code, limit)}; {log} holds what was printed"
    outcome = replace(outcome.plus(LeftOut(part.asks, why)), state="failed")
    outcome = replace(outcome, seconds=time.monotonic() - start)
    write_outcome(campaign.outcome_file(part.name), outcome)
    return outcome


def _death(code: int | None, limit: Limit) -> str:
    if code is None:
        return f"it had not ended after {limit.seconds:.0f} s"
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with status {code} and without a word"


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the process and those that it started, also stopped ones."""
    if hasattr(os, "killpg"):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    else:
        process.kill()
