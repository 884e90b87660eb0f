"""A GPU's KV cache of 8-bit integers holds what one of float16 does, in half the memory."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava_edge import Llava, Options, StateError, load
from llava_edge.core.bundle import read_bundle
from llava_edge.errors import LlavaEdgeError, UsageError
from llava_edge.export.comparison_samples import text_samples
from llava_edge.export.export import export
from llava_edge.export.kv_scales import LARGEST, MARGIN, measure_scales
from llava_edge.export.quantization.precision import Precision
from llava_edge.runtime.devices.device import CPU, CUDA, Device
from llava_edge.runtime.expected_memory import expected_memory

HOST = replace(CPU, graph="gpu")  # the GPU's graph by the CPU's provider
APART = replace(HOST, separate=True, records=True)  # in memory of its own
IDS = [5, 77, 200, 13, 250, 8, 91, 166, 40, 260, 71]


@pytest.fixture(scope="module")
def bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "cache8"
    export(tiny_checkpoint, folder, precision=Precision("none", tower="fp32", gpu_cache_bits=8))
    return folder


def opened(bundle: Path, device: Device) -> Llava:
    return Llava.from_path(bundle, read_bundle(bundle), device, context=250)


def logits(model: Llava, *parts: list[int]) -> np.ndarray:
    cache = model.decoder.new_cache()
    for ids in parts:
        found = model.decoder.read(cache, model.decoder.embed(ids))[0].copy()
    return found


def test_the_cpus_graph_is_as_it_was(bundle: Path, tiny_bundle_fp32: Path) -> None:
    graph = "decoder.cpu.onnx"
    assert (bundle / graph).read_bytes() == (tiny_bundle_fp32 / graph).read_bytes()
    assert np.array_equal(logits(load(bundle), IDS), logits(load(tiny_bundle_fp32), IDS))


@pytest.mark.parametrize("parts", [[IDS], [IDS[:4], IDS[4:]], [[id] for id in IDS]])
def test_logits_are_close_to_those_of_float16(
    bundle: Path, tiny_bundle_fp32: Path, parts: list[list[int]]
) -> None:
    found, expected = (logits(opened(one, HOST), *parts) for one in (bundle, tiny_bundle_fp32))
    assert 0 < np.linalg.norm(found - expected) < 0.03 * np.linalg.norm(expected)


def test_it_takes_half_the_memory(bundle: Path, tiny_bundle_fp32: Path) -> None:
    eight, sixteen = (read_bundle(one) for one in (bundle, tiny_bundle_fp32))
    per_token = [expected_memory(config, CUDA).kv_cache_per_token for config in (eight, sixteen)]
    assert 2 * per_token[0] == per_token[1]
    assert expected_memory(eight).kv_cache_per_token == expected_memory(sixteen).kv_cache_per_token
    model = opened(bundle, HOST)
    cache = model.decoder.new_cache()
    model.decoder.read(cache, model.decoder.embed(IDS))
    assert cache.numbers().dtype == np.int8 and np.abs(cache.numbers()).max() > 20


def test_in_memory_of_its_own_it_is_the_same(
    bundle: Path, photo: Image.Image, tmp_path: Path
) -> None:
    in_host, apart = opened(bundle, HOST), opened(bundle, APART)
    options = Options(max_tokens=10)
    chats = in_host.chat(), apart.chat()
    for prompt, picture in (("What is this?", photo), ("And?", None)):
        answers = [chat.answer(prompt, picture, options) for chat in chats]
        assert answers[0] == answers[1]
    chats[1].save(tmp_path / "talk.npz")
    again = apart.load_chat(tmp_path / "talk.npz")
    assert again.answer("More?", options=options) == chats[1].answer("More?", options=options)
    with pytest.raises(StateError):  # whose cache is of float32
        load(bundle).load_chat(tmp_path / "talk.npz")


def test_scales_hold_what_was_seen(bundle: Path) -> None:
    model = load(bundle)
    scales = measure_scales(bundle, model.config)
    assert scales.shape == (2, 2, 2, 32) and scales.min() > 0
    cache = model.decoder.new_cache()
    rows = text_samples(model.tokenizer)[0].rows(model.decoder.embed, None)
    model.decoder.read(cache, rows[:255])
    largest = np.abs(cache.numbers()).max(axis=3)
    assert (largest * MARGIN <= scales * LARGEST * 1.0001).all()


def test_other_bits_are_refused() -> None:
    with pytest.raises(UsageError, match="GPU cache bits are 4; choose 8 or 16"):
        Precision(gpu_cache_bits=4)  # type: ignore[arg-type]


def test_without_onnxruntime_nothing_is_left(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(LlavaEdgeError, match=r"needs onnxruntime, .*\[cpu\]"):
        export(tiny_checkpoint, tmp_path / "bundle", precision=Precision(gpu_cache_bits=8))
    assert not list(tmp_path.iterdir())
