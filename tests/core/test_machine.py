"""What a process may take of its machine."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from llava_edge.core import machine
from llava_edge.core.machine import available_memory, peak_memory, release_unused, usable_cores

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux's control groups")


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A control group whose files a test writes."""
    monkeypatch.setattr(machine, "_GROUP", tmp_path)
    return tmp_path


def limit(group: Path, most: object, current: int, stat: str = "") -> None:
    (group / "memory.max").write_text(f"{most}\n")
    (group / "memory.current").write_text(f"{current}\n")
    (group / "memory.stat").write_text(stat)


def test_memory_is_some_of_the_machines() -> None:
    assert 0 < available_memory() <= psutil.virtual_memory().total


def test_a_container_has_what_it_leaves(group: Path) -> None:
    limit(group, 1_000_000, 400_000)
    assert available_memory() == 600_000
    limit(group, 1_000_000, 400_000, "anon 5\ninactive_file 150000\n")
    assert available_memory() == 750_000


def test_a_container_without_a_limit_has_the_machines(
    group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Memory:
        available = 123_456_789

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    assert available_memory() == Memory.available  # no group at all
    limit(group, "max", 400_000)
    assert available_memory() == Memory.available
    limit(group, 2**62, 400_000)
    assert available_memory() == Memory.available


TAKES = "x = b'x' * 200_000_000; del x\n"


def test_the_peak_stays_when_memory_is_given_back() -> None:
    code = f"from llava_edge.core.machine import peak_memory as peak\n{TAKES}print(peak())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) >= 200_000_000


@pytest.mark.skipif(sys.platform == "win32", reason="which does not say")
def test_the_peak_of_children_is_the_largest_ones() -> None:
    subprocess.run([sys.executable, "-c", TAKES], check=True)
    subprocess.run([sys.executable, "-c", ""], check=True)
    peak = peak_memory(of_children=True)
    assert peak is not None and peak >= 200_000_000


def test_what_is_unused_may_be_given_back_at_any_time() -> None:
    kept = np.arange(10**6)
    release_unused()
    assert kept.sum() == 10**6 * (10**6 - 1) // 2


def test_cores_are_some_of_the_machines() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@linux
def test_cores_are_those_that_the_process_may_use() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from llava_edge.core.machine import usable_cores; print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 1


@linux
@pytest.mark.parametrize(
    ("quota", "most"), [("100000 100000", 1), ("10000 100000", 1), ("max 100000", None)]
)
def test_cores_are_no_more_than_the_quota(group: Path, quota: str, most: int | None) -> None:
    free = usable_cores()
    (group / "cpu.max").write_text(quota + "\n")
    assert usable_cores() == (most or free)
