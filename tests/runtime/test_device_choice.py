"""The device that is chosen, how it is tried, and how many threads it is given."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from llava_edge import DeviceError, Llava, LlavaEdgeError, Options, load
from llava_edge.bench.gpu.campaign import IMITATED
from llava_edge.core.bundle import read_bundle
from llava_edge.errors import BundleError, UsageError
from llava_edge.runtime.device_choice import choose, trial
from llava_edge.runtime.devices.cuda_driver import GpuMemory
from llava_edge.runtime.devices.device import CPU, CUDA, GPUS, WEBGPU, Device, candidates
from llava_edge.runtime.devices.onnx_session import open_graph, prepare
from llava_edge.runtime.expected_memory import expected_memory, fitting_context

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


@pytest.mark.parametrize("name", ["", "CPU", "gpu", "cuda,webgpu"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(UsageError, match="choose one of auto, cpu, cuda"):
        candidates(name, BOTH)


@pytest.mark.usefixtures("cuda_build")
def test_gpus_come_first_where_the_bundle_has_graphs_for_them() -> None:
    assert [device.name for device in candidates("auto", BOTH)] == ["cuda", "cpu"]
    assert [device.name for device in candidates("auto", ("cpu",))] == ["cpu"]
    assert [device.name for device in candidates("cuda", BOTH)] == ["cuda"]
    with pytest.raises(BundleError, match="exported for cpu only; export it again with --devices"):
        candidates("cuda", ("cpu",))


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_what_is_not_installed_is_named_with_its_extra(gpu: Device, tiny_bundle: Path) -> None:
    with pytest.raises(DeviceError, match=rf"; .*pip install '\.\[{gpu.extra}\]'"):
        load(tiny_bundle, gpu.name)


@pytest.mark.usefixtures("cuda_build")
def test_a_gpu_without_a_driver_is_said(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", _no_library)
    model = load(tiny_bundle)
    assert model.device.name == "cpu"
    assert model.notes == (
        "Running on the device cpu. No NVIDIA driver is installed (libcuda.so.1 is missing); "
        "install driver 580 or newer, or choose another device.",
    )
    with pytest.raises(DeviceError, match=r"^No NVIDIA driver is installed"):
        load(tiny_bundle, device="cuda")


@pytest.mark.usefixtures("cuda_build")
@pytest.mark.parametrize(
    ("version", "code", "capability", "sentence"),
    [
        (12080, 0, 8, "supports CUDA 12.8, and onnxruntime-gpu needs 13; install driver 580"),
        (13000, 100, 8, "finds no GPU; look at what nvidia-smi says"),
        (13020, 803, 8, r"does not start \(error 803\)"),
        (13020, 0, 6, r"has compute capability 6\.6, and onnxruntime-gpu needs 7\.5"),
    ],
)
def test_a_driver_that_does_not_do(
    monkeypatch: pytest.MonkeyPatch, version: int, code: int, capability: int, sentence: str
) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name, *mode: driver(version, code, capability))
    with pytest.raises(DeviceError, match=sentence):
        prepare(CUDA)


@pytest.mark.usefixtures("cuda_build")
def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_library(name: str, *mode: int) -> SimpleNamespace:
        return driver(13000, 0, 8) if "libcuda" in name else _no_library("libcublasLt.so.13")

    monkeypatch.setattr("ctypes.CDLL", open_library)
    with pytest.raises(DeviceError, match=r"\(libcublasLt.so.13: cannot open .* '\.\[gpu"):
        prepare(CUDA)


@pytest.mark.parametrize("content", [None, "no library"])
def test_a_plugin_that_is_broken(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "plugin.so"
    if content is not None:
        library.write_text(content)
    code = f"def get_library_path(): return {str(library)!r}\ndef get_ep_name(): return 'Web'\n"
    (tmp_path / f"{WEBGPU.plugin}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, WEBGPU.plugin, raising=False)
    with pytest.raises(DeviceError, match=r"^onnxruntime-ep-webgpu does not start \(.*plugin\.so"):
        prepare(WEBGPU)
    sys.modules.pop(WEBGPU.plugin, None)


def test_a_provider_that_does_not_take_every_node_is_refused(tiny_bundle: Path) -> None:
    """As onnxruntime does where it would leave nodes to the CPU."""
    with pytest.raises(DeviceError, match=r"webgpu does not run decoder\.gpu\.onnx"):
        open_graph(tiny_bundle / "decoder.gpu.onnx", WEBGPU, often=True)


def test_what_is_free_on_a_gpu_decides_whether_a_bundle_fits(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = read_bundle(tiny_bundle)
    most, needed = config.decoder.context_length, expected_memory(config, CUDA)
    enough = needed.loaded + most * needed.kv_cache_per_token
    monkeypatch.setattr(
        "llava_edge.runtime.expected_memory.gpu_memory", lambda: GpuMemory(enough, enough)
    )
    assert fitting_context(config, None, CUDA) == (most, "")
    assert fitting_context(config, None, CUDA, limit=2 * enough) == (most, "")
    with pytest.raises(LlavaEdgeError, match="of memory are free on the device cuda"):
        fitting_context(config, None, CUDA, limit=needed.loaded)


def opened(bundle: Path, *devices: Device) -> tuple[Llava, str]:
    model = load(bundle, "cpu")
    return choose(
        devices, lambda device: Llava.from_path(model.path, model.config, device, context=250)
    )


def test_memory_of_its_own_changes_no_answer(tiny_bundle: Path, photo: Image.Image) -> None:
    in_host, note = opened(tiny_bundle, replace(IMITATED, separate=False, records=False))
    assert note == ""
    model, note = opened(tiny_bundle, IMITATED, CPU)
    assert model.device == IMITATED
    assert note.startswith("Running on imitated, where a token takes ")
    for options in (Options(), Options(temperature=0.8, seed=3), Options(logprobs=2)):
        first, second = in_host.chat(), model.chat()
        for prompt, picture in (("What is this?", photo), ("And?", None), ("Here?", photo)):
            expected = first.answer(prompt, picture, replace(options, max_tokens=12))
            assert second.answer(prompt, picture, replace(options, max_tokens=12)) == expected


def test_the_faster_of_a_plugin_and_the_cpu_is_taken(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cpu_seconds, name in ((2.0, "plugged"), (0.5, "cpu")):
        monkeypatch.setattr("llava_edge.runtime.device_choice.trial", lambda decoder: 1.0)
        monkeypatch.setattr(
            "llava_edge.runtime.device_choice._seconds",
            lambda decoder, id, given=cpu_seconds: given,
        )
        model, note = opened(tiny_bundle, replace(IMITATED, name="plugged", plugin="any"), CPU)
        assert model.device.name == name
        assert "1000.0 ms" in note and f"{1000 * cpu_seconds} ms" in note


class Wrong:
    """A decoder whose logits are wrong where more than so many rows are read at once."""

    context, chunk, vocab_size = 64, 128, 9

    def __init__(self, right: int) -> None:
        self._right = right

    def new_cache(self) -> list[int]:
        return []

    def embed(self, ids: list[int]) -> list[int]:
        return ids

    def read(self, cache: list[int], ids: list[int]) -> np.ndarray:
        cache.extend(ids if len(ids) <= self._right else [0] * len(ids))
        return np.bincount(cache, minlength=9).astype(np.float32)[None]

    def top(self, cache: list[int], id: int) -> None:
        cache.append(id)


def test_a_gpu_that_is_wrong_for_many_rows_reads_fewer() -> None:
    decoder = Wrong(31)
    trial(decoder)  # type: ignore[arg-type]
    assert decoder.chunk == 30
    decoder = Wrong(1000)
    trial(decoder)  # type: ignore[arg-type]
    assert decoder.chunk == 128


def test_a_gpu_that_is_wrong_is_refused() -> None:
    with pytest.raises(DeviceError, match="does not compute attention correctly"):
        trial(Wrong(15))  # type: ignore[arg-type]


def test_what_was_found_in_a_trial_is_said() -> None:
    opened = SimpleNamespace(decoder=Wrong(31))
    _, note = choose([WEBGPU], lambda device: opened)  # type: ignore[arg-type]
    assert note.startswith("webgpu reads prompts 30 tokens at a time")


def test_the_trial_passes_a_decoder_that_is_right(tiny_bundle: Path) -> None:
    model = load(tiny_bundle, context=64)
    assert trial(model.decoder) > 0
    assert model.decoder.chunk == CPU.chunk


@pytest.mark.parametrize(
    ("cause", "way_out"),
    [
        ("CUDA failure 2: out of memory", "load the model with a smaller context"),
        ("CUDA failure 719: unspecified launch failure", "start the program again"),
        ("Failed to get a WebGPU adapter", "load the model again"),
        ("Failed to allocate memory for requested buffer of size 7", "load the model with a sm"),
    ],
)
def test_a_gpu_that_is_taken_away_ends_the_answer_in_a_sentence(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, cause: str, way_out: str
) -> None:
    model, _ = opened(tiny_bundle, IMITATED, CPU)
    expected = model.answer("Tell")

    def fail(*arguments: object) -> None:
        raise RuntimeError(f"/onnxruntime_src/cuda_call.cc:154 {cause} ; GPU=0 ; hostname=h ;")

    monkeypatch.setattr("llava_edge.runtime.devices.device_memory.FixedRun.__call__", fail)
    with pytest.raises(DeviceError, match=rf"^onnxruntime failed \({cause}\); {way_out}"):
        model.answer("Tell")
    monkeypatch.undo()
    assert opened(tiny_bundle, IMITATED, CPU)[0].answer("Tell") == expected


def test_a_graph_that_is_not_recorded_runs_all_the_same(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = opened(tiny_bundle, IMITATED, CPU)[0].answer("Tell")
    run = onnxruntime.InferenceSession.run_with_iobinding

    def refuse(session: object, binding: object, options: onnxruntime.RunOptions) -> None:
        if options.get_run_config_entry("gpu_graph_id") != "-1":
            raise RuntimeError("CUDA failure 900: operation not permitted when stream is capturing")
        run(session, binding, options)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run_with_iobinding", refuse)
    model, note = opened(tiny_bundle, IMITATED, CPU)
    assert "without a CUDA graph (CUDA failure 900" in " ".join((*model.notes, note))
    assert model.answer("Tell") == expected


def test_attention_is_chosen_for_our_sessions_only(tiny_bundle: Path) -> None:
    before = dict(os.environ)
    load(tiny_bundle)
    assert dict(os.environ) == before


def test_a_graph_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"\0\1\2")
    with pytest.raises(BundleError, match=r"cannot load .*x\.onnx"):
        open_graph(tmp_path / "x.onnx", CPU, often=True)


def driver(version: int, code: int, capability: int) -> SimpleNamespace:
    """NVIDIA's, which answers every question with one number."""

    def answer(number: int) -> Callable[..., int]:
        def put(place: Any, *_: object) -> int:
            place._obj.value = number
            return 0

        return put

    return SimpleNamespace(
        cuDriverGetVersion=answer(version),
        cuInit=lambda flags: code,
        cuDeviceGet=answer(0),
        cuDeviceGetAttribute=answer(capability),
    )


def _no_library(name: str, *mode: int) -> SimpleNamespace:
    raise OSError(f"{name}: cannot open shared object file: No such file or directory")
