"""The graphs of all devices compute the same, over the same bytes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from decoder_judge import Judge, prompt_rows
from sessions import EXACT, Sessions
from tiny import Tiny, write_llava

from llava_edge import load
from llava_edge.errors import BundleError
from llava_edge.export.export import export
from llava_edge.export.quantization.precision import Precision

TINIES = {
    "clip, llama": Tiny(attention_bias=True),
    "siglip, qwen3": Tiny(tower="siglip", select="full", decoder="qwen3"),
    "dinov2, qwen2": Tiny(tower="dinov2", image_size=35, decoder="qwen2", tied=True),
    "efficientnet, smollm3": Tiny(tower="efficientnet_lite", decoder="smollm3", tied=True),
}
PRECISIONS = {
    "kquant": Precision(),
    "rtn": Precision("rtn", tower="int8"),
    "nf4": Precision("nf4"),
    "none": EXACT,
    "mixed": Precision(eight_bits=frozenset({"layers.0.mlp.down_proj"})),
    "blocks of 64, head of 4, embedding of 16": Precision(
        block_size=64, head_bits=4, embedding_bits=16, tower="fp32"
    ),
}


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)
@pytest.mark.parametrize("tiny", TINIES.values(), ids=TINIES)
def test_both_graphs_compute_the_same(tmp_path: Path, tiny: Tiny, precision: Precision) -> None:
    judge = Judge(write_llava(tmp_path / "checkpoint", tiny))
    export(tmp_path / "checkpoint", tmp_path / "bundle", precision=precision)
    cpu, gpu = (Sessions(tmp_path / "bundle", device) for device in ("cpu", "gpu"))
    pixels = judge.pixels.numpy()
    # float16 has 11 bits, and on the CPU activations are rounded to 8 where weights are quantized.
    assert distance(gpu.image_embeds(pixels), cpu.image_embeds(pixels)) < 0.02
    rows = prompt_rows(cpu, judge)
    assert distance(gpu.logits(rows), cpu.logits(rows)) < (0.005 if precision is EXACT else 0.05)


def test_each_tensor_is_stored_once(tmp_path: Path) -> None:
    write_llava(tmp_path / "checkpoint", Tiny(text_size=384, text_inner=192))
    sizes = {}
    for devices in (("cpu",), ("gpu",), ("cpu", "gpu")):
        bundle = tmp_path / "-".join(devices)
        precision = Precision(symmetric=True)
        export(tmp_path / "checkpoint", bundle, devices=devices, precision=precision)
        sizes[devices] = (bundle / "weights.bin").stat().st_size
    assert len(set(sizes.values())) == 1
    places = {
        device: references(tmp_path / "cpu-gpu" / f"decoder.{device}.onnx")
        for device in ("cpu", "gpu")
    }
    assert places["cpu"] == places["gpu"]


def test_a_bundle_for_another_device_is_refused(tmp_path: Path) -> None:
    write_llava(tmp_path / "checkpoint")
    export(tmp_path / "checkpoint", tmp_path / "bundle", devices=("gpu",))
    with pytest.raises(BundleError, match=r"was exported for gpu only, .* --devices cpu,gpu"):
        load(tmp_path / "bundle")


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def references(graph: Path) -> set[tuple[str, str]]:
    """Where in weights.bin a graph's tensors lie."""
    initializers = onnx.load(graph, load_external_data=False).graph.initializer
    parts = [{entry.key: entry.value for entry in one.external_data} for one in initializers]
    return {(part["offset"], part["length"]) for part in parts if part}
