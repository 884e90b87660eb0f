"""The device that is chosen, and how many threads it is given."""

import os
import warnings
from pathlib import Path

import onnxruntime
import pytest

from llava_edge import load
from llava_edge.devices import CPU, GPUS, candidates, open_graph, works
from llava_edge.errors import BundleError, LlavaEdgeError, UsageError

BOTH = ("cpu", "gpu")


@pytest.fixture
def cuda_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """An onnxruntime that names a provider which does nothing, as without a driver."""
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)


@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_the_cpu_is_found(name: str) -> None:
    (device,) = candidates(name, BOTH)
    assert device.name == "cpu"
    assert 0 <= device.threads <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_threads_keep_to_the_cores_allowed() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert candidates("cpu", BOTH)[0].threads == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize("name", ["", "CPU", "gpu", "cuda,directml"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(UsageError, match="choose one of auto, cpu, cuda"):
        candidates(name, BOTH)


def test_a_provider_that_is_not_installed() -> None:
    with pytest.raises(UsageError, match=r"no DmlExecutionProvider; .*llava-edge\[directml\]"):
        candidates("directml", BOTH)


@pytest.mark.usefixtures("cuda_build")
def test_gpus_come_first_where_the_bundle_has_graphs_for_them() -> None:
    assert [device.name for device in candidates("auto", BOTH)] == ["cuda", "cpu"]
    assert [device.name for device in candidates("auto", ("cpu",))] == ["cpu"]
    assert [device.name for device in candidates("cuda", BOTH)] == ["cuda"]
    with pytest.raises(BundleError, match="exported for cpu only; export it again with --devices"):
        candidates("cuda", ("cpu",))


@pytest.mark.usefixtures("cuda_build")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_gpu_that_does_nothing_is_said(tiny_bundle: Path) -> None:
    model = load(tiny_bundle)
    assert model.device.name == "cpu"
    assert model.notes[0].startswith("Running on the CPU, since cuda cannot run the bundle (")
    with pytest.raises(
        LlavaEdgeError, match=r"^cuda cannot run the bundle .* choose the device cpu"
    ):
        load(tiny_bundle, device="cuda")


def test_a_graph_that_works(tiny_bundle: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert works(GPUS[1], tiny_bundle / "decoder.gpu.onnx")
    assert candidates("cpu", BOTH)[0].provider == CPU.provider


def test_attention_is_chosen_for_our_sessions_only(tiny_bundle: Path) -> None:
    before = dict(os.environ)
    load(tiny_bundle)
    assert dict(os.environ) == before


def test_a_graph_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"\0\1\2")
    with pytest.raises(BundleError, match=r"cannot load .*x\.onnx"):
        open_graph(tmp_path / "x.onnx", CPU, often=True)
