"""The process of one part, which writes each finding at once.

    python -m llava_edge.bench.gpu.part_process CAMPAIGN PART

Both arguments are JSON. What a part found before it was stopped stays in its file.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module

from llava_edge.bench.gpu.campaign import Campaign
from llava_edge.bench.gpu.findings import Finding, LeftOut, PartOutcome, write_outcome
from llava_edge.bench.gpu.parts import CampaignPart
from llava_edge.core.strict import parse
from llava_edge.errors import LlavaEdgeError

Measure = Callable[..., Iterator[Finding | LeftOut]]


def main() -> None:
    """Run the part that the arguments name."""
    campaign = parse(Campaign, json.loads(sys.argv[1]))
    part = parse(CampaignPart, json.loads(sys.argv[2]))
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    start, outcome = time.monotonic(), PartOutcome(part.name)

    def write(now: PartOutcome) -> PartOutcome:
        now = replace(now, seconds=time.monotonic() - start)
        write_outcome(campaign.outcome_file(part.name), now)
        return now

    write(outcome)
    try:
        for found in find_function(part.call)(campaign, *part.given):
            outcome = write(outcome.plus(found))
        write(replace(outcome, state="done"))
    except Exception as error:
        traceback.print_exc()
        write(replace(outcome.plus(LeftOut(part.asks, _reason(error))), state="failed"))


def _reason(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed"
    said = " ".join(str(error).split())[:500]
    return said if isinstance(error, LlavaEdgeError) else f"{type(error).__name__}: {said}"


def find_function(call: str) -> Measure:
    """The function that a part's `call`, MODULE:FUNCTION, names."""
    module, _, name = call.partition(":")
    function: Measure = getattr(import_module(module), name)
    return function


def _end_with_the_parent() -> None:
    """End this process and those it started, which may hold a GPU, when the parent has gone."""
    while os.read(0, 1):  # not of sys.stdin, whose lock Python wants when it ends
        pass
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
