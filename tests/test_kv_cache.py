"""A cache in host memory and one of a device's tensors hold the same, on the CPU's provider."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llava_edge import load
from llava_edge.bundle import read_bundle
from llava_edge.decoder import Decoder
from llava_edge.devices import CPU
from llava_edge.errors import LlavaEdgeError
from llava_edge.kv_cache import DeviceKVCache, HostKVCache, KVCache, new_cache

IDS = [5, 77, 200, 13, 250, 8, 91, 166]
GPU_GRAPH = replace(CPU, graph="gpu")  # fp16 numbers


@pytest.fixture(scope="module")
def decoder(tiny_bundle: Path) -> Decoder:
    """The GPU's graph, run by the CPU's provider."""
    config = read_bundle(tiny_bundle).decoder
    graph, weights = tiny_bundle / "decoder.gpu.onnx", tiny_bundle / "weights.bin"
    return Decoder(graph, weights, config, GPU_GRAPH, context=50)


def test_the_device_says_where_the_cache_lies(tiny_bundle: Path) -> None:
    config = read_bundle(tiny_bundle).decoder
    assert isinstance(new_cache(config, 8, GPU_GRAPH), HostKVCache)
    assert new_cache(config, 8, GPU_GRAPH).numbers().dtype == np.float16
    assert new_cache(config, 8, CPU).numbers().dtype == np.float32


def test_both_kinds_give_the_same_logits(decoder: Decoder) -> None:
    host = decoder.new_cache()
    device: KVCache = DeviceKVCache(host.shape, np.dtype(np.float16), GPU_GRAPH)
    for start, end in ((0, 5), (5, 6), (6, 8)):
        rows = decoder.embed(IDS[start:end])
        expected = decoder.read(host, rows).copy()
        assert np.array_equal(decoder.read(device, rows), expected)
    assert np.array_equal(device.numbers(), host.numbers())
    device.rewind(5)
    assert np.array_equal(decoder.read(device, rows)[0], decoder.read(_at(host, 5), rows)[0])


def test_a_device_cache_is_carried_over(decoder: Decoder) -> None:
    host = decoder.new_cache()
    decoder.read(host, decoder.embed(IDS))
    device = DeviceKVCache(host.shape, np.dtype(np.float16), GPU_GRAPH)
    device.restore(host.numbers())
    assert np.array_equal(device.numbers(), host.numbers())


def test_a_cache_that_no_machine_has(tiny_bundle: Path) -> None:
    decoder = load(tiny_bundle).decoder
    decoder.context = 2**40
    with pytest.raises(LlavaEdgeError, match=r"for 1,099,511,627,776 tokens .* smaller context"):
        decoder.new_cache()


def _at(cache: KVCache, length: int) -> KVCache:
    cache.rewind(length)
    return cache
