"""What an export costs is measured in a process of its own, which leaves nothing."""

import subprocess
from pathlib import Path

import pytest

from llava_edge.bench.export_cost import measure


def test_export_cost(tiny_checkpoint: Path) -> None:
    before = set(tiny_checkpoint.parent.iterdir())
    cost = measure(tiny_checkpoint, ["--quantize", "rtn", "--devices", "cpu"])
    assert set(tiny_checkpoint.parent.iterdir()) == before
    assert cost.seconds > 0 and cost.bundle_size > 100_000
    assert 4 < cost.bits_per_weight < 8
    assert cost.peak_memory is None or cost.peak_memory > 10 * 2**20
    with pytest.raises(subprocess.CalledProcessError):
        measure(tiny_checkpoint, ["--block-size", "33"])
