"""A part that fails, hangs or is cut off is said so, and the others run."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from places import SUPPORT

from llava_edge.bench.gpu.campaign import Campaign
from llava_edge.bench.gpu.campaign_report import as_table, report
from llava_edge.bench.gpu.findings import PartOutcome, read_outcome
from llava_edge.bench.gpu.parts import CampaignPart, left_for_later
from llava_edge.bench.gpu.run_parts import ENDING, run_parts


def outcome(folder: Path, part: str) -> PartOutcome:
    found = read_outcome(folder / "parts" / f"{part}.json")
    assert found is not None
    return found


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    """Empty; its parts are those of gpu_parts.py."""
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    monkeypatch.setattr("llava_edge.bench.gpu.parts.SHORTEST", 1)
    return Campaign(tmp_path, "tiny", "cpu")


def part(name: str, **changes: object) -> CampaignPart:
    made = CampaignPart(name, f"what becomes of {name}", f"gpu_parts:{name}", seconds=1)
    return replace(made, **changes)  # type: ignore[arg-type]


def go(
    campaign: Campaign, *parts: CampaignPart, seconds: float = 3600, again: bool = False
) -> list[str]:
    told: list[str] = []
    run_parts(campaign, parts, seconds, again=again, tell=told.append)
    return told


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("crash", "ended by SIGSEGV"),
        ("vanish", "ended with status 3"),
        ("refuse", "The GPU is gone; look for it."),
        ("stumble", "KeyError: 'absent'"),
    ],
)
def test_a_part_that_fails_is_a_row_and_the_next_one_runs(
    campaign: Campaign, name: str, why: str
) -> None:
    parts = part(name), part("quick")
    go(campaign, *parts)
    failed = outcome(campaign.folder, name)
    assert failed.state == "failed" and why in failed.left_out[-1].why
    assert [one.name for one in failed.findings] == ["before"]  # is kept
    assert outcome(campaign.folder, "quick").state == "done"
    assert left_for_later(campaign, parts) == []
    table = as_table(report(campaign, parts))
    assert why in table and "nobody asked" in table


def test_what_is_settled_runs_again_only_when_asked(campaign: Campaign) -> None:
    whole = part("whole", call="gpu_parts:needed")
    parts = part("stumble"), part("quick"), whole
    assert len(go(campaign, *parts)) == 6
    assert go(campaign, *parts) == []
    told = go(campaign, *parts, again=True)
    assert [line.partition(":")[0] for line in told[::2]] == ["stumble", "quick"]


def test_a_part_that_hangs_is_ended(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llava_edge.bench.gpu.run_parts.LEAST", 3)
    go(campaign, part("hang"))
    found = outcome(campaign.folder, "hang")
    assert found.state == "failed" and "had not ended after 3 s" in found.left_out[-1].why
    assert gone(campaign)


def test_a_part_that_the_time_cuts_off_is_left_for_the_next_call(campaign: Campaign) -> None:
    parts = part("quick"), part("hang")
    start = time.monotonic()
    go(campaign, *parts, seconds=ENDING + 5)
    assert time.monotonic() - start < ENDING + 5
    found = outcome(campaign.folder, "hang")
    assert found.state == "begun" and [one.name for one in found.findings] == ["before"]
    assert left_for_later(campaign, parts) == [parts[1]] and gone(campaign)
    assert "it was cut off" in as_table(report(campaign, parts))


def test_no_part_is_begun_that_does_not_fit(campaign: Campaign) -> None:
    long, short = part("refuse", seconds=1000), part("quick")
    go(campaign, long, short, seconds=ENDING + 20)
    assert campaign.outcome("refuse") is None
    assert outcome(campaign.folder, "quick").state == "done"
    assert left_for_later(campaign, [long, short]) == [long]


def test_a_part_waits_for_what_it_opens(campaign: Campaign) -> None:
    opens, makes = part("quick", needs=("made",)), part("needed", makes=("made",), seconds=1000)
    assert go(campaign, opens, makes, seconds=ENDING + 20) == []
    assert left_for_later(campaign, [opens, makes]) == [opens, makes]
    assert left_for_later(campaign, [opens]) == []
    assert "the bundle made, which it opens, has not been made" in as_table(
        report(campaign, [opens])
    )
    go(campaign, makes, opens)
    assert outcome(campaign.folder, "quick").state == "done"
    (campaign.models / "made-bundle").rmdir()  # another machine: it is made once more
    assert left_for_later(campaign, [makes]) == [makes]


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="POSIX only")
def test_a_campaign_that_is_killed_takes_its_part_along(campaign: Campaign) -> None:
    words = [sys.executable, str(SUPPORT / "hanging_campaign.py"), str(campaign.folder)]
    with subprocess.Popen(words) as process:
        while not (campaign.folder / "pid").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert gone(campaign)
    go(campaign, part("hang", call="gpu_parts:quick"))  # which is run again
    assert outcome(campaign.folder, "hang").state == "done"


def gone(campaign: Campaign) -> bool:
    """Whether the process of `hang` has ended, soon."""
    pid = int((campaign.folder / "pid").read_text())
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        status = Path(f"/proc/{pid}/stat")
        if status.exists() and status.read_text().split()[2] == "Z":  # ended, and nobody has asked
            return True
        time.sleep(0.1)
    return False
