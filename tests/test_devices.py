"""The device that is chosen, and how many threads it is given."""

import os
from pathlib import Path

import pytest

from llava_edge.devices import choose, open_graph
from llava_edge.errors import BundleError, UsageError


@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_the_cpu_is_found(name: str) -> None:
    device = choose(name)
    assert device.name == "cpu"
    assert 0 <= device.threads <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_threads_keep_to_the_cores_allowed() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert choose("cpu").threads == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize("name", ["", "CPU", "cuda", "gpu"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(UsageError, match="choose one of auto, cpu"):
        choose(name)


def test_a_graph_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"\0\1\2")
    with pytest.raises(BundleError, match=r"cannot load .*x\.onnx"):
        open_graph(tmp_path / "x.onnx", choose("cpu"), spin=True)
