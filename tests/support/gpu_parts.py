"""Parts of a campaign that end in every way."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from llava_edge.bench.gpu.campaign import Campaign
from llava_edge.bench.gpu.findings import Finding, LeftOut
from llava_edge.errors import DeviceError


def quick(campaign: Campaign) -> Iterator[Finding | LeftOut]:
    yield Finding("answer", 42.0, "ms")
    yield LeftOut("a question", "nobody asked")


def crash(campaign: Campaign) -> Iterator[Finding]:
    yield Finding("before", 1.0)
    os.kill(os.getpid(), signal.SIGSEGV)


def vanish(campaign: Campaign) -> Iterator[Finding]:
    yield Finding("before", 1.0)
    os._exit(3)


def refuse(campaign: Campaign) -> Iterator[Finding]:
    yield Finding("before", 1.0)
    raise DeviceError("The GPU is gone; look for it.")


def stumble(campaign: Campaign) -> Iterator[Finding]:
    yield Finding("before", 1.0)
    raise KeyError("absent")


def hang(campaign: Campaign) -> Iterator[Finding]:
    yield Finding("before", 1.0)
    (campaign.folder / "pid").write_text(str(os.getpid()))
    time.sleep(600)


def needed(campaign: Campaign) -> Iterator[Finding]:
    """Makes what others need."""
    folder: Path = campaign.models / "made-bundle"
    folder.mkdir(parents=True, exist_ok=True)
    yield Finding("made", 1.0)
