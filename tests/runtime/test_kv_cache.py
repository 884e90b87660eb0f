"""A cache in host memory and one of a device's tensors hold the same, on the CPU's provider."""

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llava_edge import load
from llava_edge.core.bundle import read_bundle
from llava_edge.errors import LlavaEdgeError, UsageError
from llava_edge.runtime.decoder import Decoder
from llava_edge.runtime.devices.device import CPU, Device
from llava_edge.runtime.kv_cache import DeviceKVCache, HostKVCache

IDS = [5, 77, 200, 13, 250, 8, 91, 166]
HOST = replace(CPU, graph="gpu")  # fp16 numbers
DEVICE = replace(HOST, memory="cpu", separate=True, records=True)  # as a GPU, by the CPU's provider


def opened(bundle: Path, device: Device) -> Decoder:
    config = read_bundle(bundle).decoder
    graph, weights = bundle / "decoder.gpu.onnx", bundle / "weights.bin"
    return Decoder(graph, weights, config, device, context=50)


@pytest.fixture(scope="module")
def host(tiny_bundle: Path) -> Decoder:
    """The GPU's graph, its KV cache in the host's memory."""
    return opened(tiny_bundle, HOST)


@pytest.fixture(scope="module")
def device(tiny_bundle: Path) -> Decoder:
    """The same, all that it reads and writes in tensors of the device's."""
    return opened(tiny_bundle, DEVICE)


def test_the_device_says_where_the_cache_lies(host: Decoder, device: Decoder) -> None:
    assert isinstance(host.new_cache(), HostKVCache)
    assert isinstance(device.new_cache(), DeviceKVCache)
    assert host.new_cache().numbers().dtype == device.new_cache().numbers().dtype == np.float16


def test_both_kinds_give_the_same_logits(host: Decoder, device: Decoder) -> None:
    caches = host.new_cache(), device.new_cache()
    for start, end in ((0, 5), (5, 7), (7, 8)):
        rows = host.embed(IDS[start:end])
        expected = host.read(caches[0], rows).copy()
        assert np.array_equal(device.read(caches[1], rows), expected)
    assert np.array_equal(caches[1].numbers(), caches[0].numbers())
    for cache in caches:
        cache.rewind(5)
    for id in IDS[5:]:
        assert np.array_equal(device.step(caches[1], id), host.step(caches[0], id))
    assert np.array_equal(caches[1].numbers(), caches[0].numbers())


def test_the_device_chooses_the_likeliest(host: Decoder, device: Decoder) -> None:
    first, second = host.new_cache(), device.new_cache()
    for id in IDS:
        assert device.top(second, id) == host.top(first, id)
    assert second.length == len(IDS)


def test_a_device_cache_is_carried_over(host: Decoder, device: Decoder) -> None:
    before, after = host.new_cache(), device.new_cache()
    host.read(before, host.embed(IDS))
    after.restore(before.numbers())
    assert np.array_equal(after.numbers(), before.numbers())


def test_memory_on_a_device_is_used_again(tiny_bundle: Path) -> None:
    decoder = opened(tiny_bundle, DEVICE)
    slots = decoder._slots
    assert slots is not None
    first = decoder.new_cache()
    decoder.read(first, decoder.embed(IDS))
    memory = slots.of(first).memory
    second = decoder.new_cache()
    assert slots.of(second).memory is not memory
    expected = decoder.step(second, 7).copy()
    del first
    gc.collect()
    third = decoder.new_cache()
    assert slots.of(third).memory is memory and third.length == 0
    assert np.array_equal(decoder.step(third, 7), expected)


def test_a_released_cache_leaves_its_memory_to_the_next(tiny_bundle: Path) -> None:
    decoder = opened(tiny_bundle, DEVICE)
    first = decoder.new_cache()
    expected = decoder.read(first, decoder.embed(IDS)).copy()
    first.release()
    del first
    gc.collect()
    again = decoder.new_cache()
    assert np.array_equal(decoder.read(again, decoder.embed(IDS)), expected)


def test_closing_lets_go_of_memory_on_a_device(tiny_bundle: Path) -> None:
    decoder = opened(tiny_bundle, DEVICE)
    cache = decoder.new_cache()
    decoder.read(cache, decoder.embed(IDS))
    slots = decoder._slots
    assert slots is not None
    gone = [weakref.ref(part) for part in (slots, slots.of(cache), decoder._graph.session)]
    del slots
    decoder.close()
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3
    with pytest.raises(UsageError, match="model was closed"):
        decoder.step(cache, 7)


def test_a_cache_that_no_machine_has(tiny_bundle: Path) -> None:
    decoder = load(tiny_bundle).decoder
    decoder.context = 2**40
    with pytest.raises(LlavaEdgeError, match=r"for 1,099,511,627,776 tokens .* smaller context"):
        decoder.new_cache()
