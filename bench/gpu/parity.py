"""Whether the graphs for GPUs compute what they should.

They are compared with the same graph on the CPU, with the graph for CPUs, with themselves without
CUDA graphs, and with transformers. A distance is |a - b| / |b| over all logits. float16 gives 1e-3
to 1e-2; the graph for CPUs rounds activations to 8 bits, so a few hundredths are usual there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from llava_edge.bench.gpu.campaign import IMITATED, Campaign
from llava_edge.bench.gpu.findings import Finding
from llava_edge.bench.gpu.models import (
    bundle_of,
    checkpoint_of,
    make_bundle,
    make_checkpoint,
    open_on,
)
from llava_edge.core.array_types import Floats
from llava_edge.core.bundle import read_bundle
from llava_edge.runtime.devices.device import CPU, Device
from llava_edge.runtime.model import Llava

if TYPE_CHECKING:
    from llava_edge.export.quantization.precision import Method

PROMPT, PIECE, STEPS = 48, 16, 12  # tokens
VARIANTS: "dict[str, tuple[Method, Literal[8, 16]]]" = {  # how weights and the KV cache are stored
    "rtn": ("rtn", 16),
    "none": ("none", 16),
    "8-bit-cache": ("rtn", 8),
}


@dataclass(frozen=True)
class GraphLogits:
    """Logits of a prompt read at once, of the same one read in pieces, and of single tokens."""

    at_once: Floats  # [V]
    in_pieces: Floats  # [V]
    steps: Floats  # [N, V]
    likeliest: tuple[int, ...]  # after the same tokens, as the device chooses


def measure(campaign: Campaign, name: str) -> Iterator[Finding]:
    """A small random model, with weights of few bits and of 16, and with a KV cache of 8."""
    checkpoint = checkpoint_of(campaign, name)
    if not checkpoint.exists():
        make_checkpoint(campaign, name)
    for variant, (method, bits) in VARIANTS.items():
        bundle = bundle_of(campaign, f"{name}-{variant}")
        make_bundle(checkpoint, bundle, method=method, devices=("cpu", "gpu"), cache_bits=bits)
        yield from compare_devices(campaign, bundle, f"{name}, {variant}")


def measure_given(campaign: Campaign) -> Iterator[Finding]:
    """The bundle that --bundle gave."""
    assert campaign.bundle is not None
    yield from compare_devices(campaign, campaign.bundle, campaign.bundle.name)
    if campaign.checkpoint is not None:
        yield from beside_original(campaign, campaign.bundle, campaign.checkpoint)


def measure_original(campaign: Campaign, name: str) -> Iterator[Finding]:
    """The small random model beside transformers."""
    bundle = bundle_of(campaign, f"{name}-none")
    yield from beside_original(campaign, bundle, checkpoint_of(campaign, name))


def compare_devices(campaign: Campaign, bundle: Path, title: str) -> Iterator[Finding]:
    """How far the device's logits are from those of other devices with the same bundle."""
    gpu = campaign.gpu
    found = _logits(bundle, gpu)
    others = {
        "the same graph on the CPU": IMITATED,
        "the graph for CPUs": CPU,
        "no CUDA graph": replace(gpu, records=False),
    }
    for other, device in others.items():
        expected = _logits(bundle, device)
        for part in ("at_once", "in_pieces", "steps"):
            one, two = getattr(found, part), getattr(expected, part)
            same = "the same bits" if np.array_equal(one, two) else ""
            words = f"{part.replace('_', ' ')}{f', {same}' if same else ''}"
            yield Finding(f"{title}: to {other}", _distance(one, two), words=words)
    chosen = np.mean(np.array(found.likeliest) == found.steps.argmax(1))
    yield Finding(f"{title}: tokens chosen as argmax of the logits", 100 * float(chosen), "%")


def _logits(bundle: Path, device: Device) -> GraphLogits:
    model = open_on(bundle, device, 512)
    decoder, size = model.decoder, PROMPT + STEPS
    ids = np.random.default_rng(0).integers(0, decoder.vocab_size, size).tolist()
    at_once, in_pieces = (_read(model, ids[:PROMPT], piece) for piece in (PROMPT, PIECE))
    cache = decoder.new_cache()
    decoder.read(cache, decoder.embed(ids[:PROMPT]))
    steps = np.stack([decoder.step(cache, id).copy() for id in ids[PROMPT:]])
    cache.rewind(PROMPT)
    likeliest = tuple(decoder.top(cache, id).id for id in ids[PROMPT:])
    return GraphLogits(at_once, in_pieces, steps, likeliest)


def _read(model: Llava, ids: list[int], piece: int) -> Floats:
    decoder = model.decoder
    cache = decoder.new_cache()
    for start in range(0, len(ids), piece):
        logits = decoder.read(cache, decoder.embed(ids[start : start + piece]))
    last: Floats = logits[0].copy()
    return last


def _distance(found: Floats, expected: Floats) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def beside_original(campaign: Campaign, bundle: Path, checkpoint: Path) -> Iterator[Finding]:
    """What `llava-edge verify` measures, but on the device."""
    from llava_edge.export.layouts.checkpoint import open_checkpoint
    from llava_edge.export.verify import compare

    config = read_bundle(bundle)
    opened = open_checkpoint(checkpoint, base=campaign.base, prompt=config.prompt.name)
    quality = compare(
        bundle, config, opened, None, {}, lambda path: open_on(path, campaign.gpu, 4096)
    )
    title = f"{bundle.name} beside transformers"
    yield Finding(f"{title}: KL divergence", quality.kl_mean, "nats")
    yield Finding(f"{title}: likeliest token agrees", 100 * quality.top1_agreement, "%")
    yield Finding(f"{title}: image embeddings' cosine", quality.image_cosine)
