"""WebGPU's plugin computes what the CPU does, where there is an adapter for it."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava_edge import DeviceError, Llava, load
from llava_edge.core.array_types import Floats

pytestmark = pytest.mark.skipif(
    find_spec("onnxruntime_ep_webgpu") is None, reason="the extra webgpu is not installed"
)


@pytest.fixture(scope="module")
def webgpu(tiny_bundle: Path) -> Llava:
    try:
        return load(tiny_bundle, "webgpu")
    except DeviceError as error:
        pytest.skip(f"no adapter is here: {error}")


def test_logits_and_pictures_are_the_cpus(
    webgpu: Llava, tiny_bundle: Path, photo: Image.Image
) -> None:
    cpu = load(tiny_bundle, "cpu")
    assert distance(logits(webgpu), logits(cpu)) < 0.05
    assert distance(webgpu.encode_image(photo).rows, cpu.encode_image(photo).rows) < 0.05


def logits(model: Llava) -> Floats:
    """After a prompt in chunks, and after some tokens."""
    cache, ids = model.decoder.new_cache(), [int(id) for id in range(5, 75)]
    for start in range(0, len(ids), model.decoder.chunk):
        rows = model.decoder.embed(ids[start : start + model.decoder.chunk])
        found = [model.decoder.read(cache, rows)[0].copy()]
    found += [model.decoder.step(cache, id).copy() for id in ids[:4]]
    return np.stack(found)


def distance(found: Floats, expected: Floats) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
