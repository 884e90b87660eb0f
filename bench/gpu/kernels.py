"""Which kernels products and attention took, by onnxruntime's rules and by what ran.

What ran is known from onnxruntime's profile (operators and their provider), from what its kernels
print on request, and from CUDA's own tracing, which torch's profiler reads: it names the kernels
and their time, also in a CUDA graph that is replayed.
"""

import ctypes
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from llava_edge.bench.gpu.campaign import Campaign
from llava_edge.bench.gpu.findings import Finding, LeftOut
from llava_edge.bench.gpu.models import bundle_of, make_bundle, make_checkpoint, open_model
from llava_edge.bench.gpu.traces import obstacle, slowest
from llava_edge.core.bundle import decoder_onnx, read_bundle
from llava_edge.core.bundle_config import DecoderConfig
from llava_edge.runtime.devices.onnx_session import open_graph, prepare
from llava_edge.runtime.model import Llava

ASKED = ("ORT_FPA_INTB_DEBUG", "ORT_ENABLE_ATTENTION_KERNEL_DEBUG_INFO")  # to print kernels' names
PRINTED = ("intb", "sdpakernel", "attention", "xqa")  # in the lines that they print then
ROWS = 512  # of the prompt that is traced
STEPS = 8  # that are traced
LINES = 40  # of what is printed


def measure(campaign: Campaign, name: str) -> Iterator[Finding | LeftOut]:
    """The kernels of a token, a prompt and a picture; a small model is made here."""
    os.environ |= dict.fromkeys(ASKED, "1")
    bundle = bundle_of(campaign, name)
    if name.startswith("tiny") and not bundle.exists():
        make_bundle(make_checkpoint(campaign, name), bundle, method="rtn")
    graph = bundle / decoder_onnx("gpu")
    yield from _predicted(graph)
    yield from _nodes(campaign, bundle)
    yield from _traced(campaign, name, min(ROWS, campaign.amounts.context // 2))
    yield from _printed(campaign.log(f"kernels-{name}"))


def _predicted(graph: Path) -> Iterator[Finding]:
    from llava_edge.export.graphs.cuda_kernels import cuda_kernels

    found = Counter((kernel.name, kernel.reason) for kernel in cuda_kernels(graph))
    for (name, reason), count in found.items():
        words = f"{name}{f', since {reason}' if reason else ''}"
        yield Finding("by the rules", count, words=words)


def _nodes(campaign: Campaign, bundle: Path) -> Iterator[Finding]:
    """Operators by provider, from onnxruntime's profile of one token."""
    device = replace(campaign.gpu, records=False)
    prepare(device)
    graph, config = bundle / decoder_onnx("gpu"), read_bundle(bundle).decoder
    with TemporaryDirectory() as folder:
        session = open_graph(graph, device, often=True, profile=Path(folder) / "run")
        session.run(["logits"], _inputs(config))
        events = json.loads(Path(session.end_profiling()).read_text())
    ran = [event["args"] for event in events if event.get("cat") == "Node"]
    counted = Counter((node.get("provider", ""), node["op_name"]) for node in ran)
    for (provider, operator), count in counted.most_common():
        yield Finding("ran for a token", count, words=f"{operator} ({provider})")


def _inputs(config: DecoderConfig) -> dict[str, Any]:
    """The decoder's inputs for a random row and an empty cache."""
    random = np.random.default_rng(0)
    cache = np.zeros((1, config.num_kv_heads, 1, config.head_dim), config.cache_type("gpu"))
    past = {
        f"past_key_values.{layer}.{half}": cache
        for layer in range(config.num_layers)
        for half in ("key", "value")
    }
    return past | {
        "inputs_embeds": random.standard_normal((1, 1, config.hidden_size), np.float32),
        "seqlens_k": np.zeros(1, np.int32),
        "total_sequence_length": np.array(1, np.int32),
        "logit_positions": np.zeros(1, np.int64),
    }


def _traced(campaign: Campaign, name: str, rows: int) -> Iterator[Finding | LeftOut]:
    """CUDA's kernels and their share of the GPU's time; everything runs in any case."""
    left_out = obstacle(campaign)
    for title, call in _calls(open_model(campaign, name), rows).items():
        call()  # warms up, and lets onnxruntime print
        if left_out is None:
            yield from slowest(campaign, title, call)
    if left_out is not None:
        yield left_out


def _calls(model: Llava, rows: int) -> dict[str, Callable[[], object]]:
    decoder, cache = model.decoder, model.decoder.new_cache()
    ids = np.random.default_rng(0).integers(0, decoder.vocab_size, rows).tolist()
    embeds, side = decoder.embed(ids), model.config.vision.image.size
    pixels = np.random.default_rng(0).random((1, 3, side, side), np.float32)

    def prompt() -> None:
        cache.rewind(0)
        decoder.read(cache, embeds)

    def steps() -> None:
        for id in ids[:STEPS]:
            decoder.top(cache, id)

    return {
        f"prompt of {rows}": prompt,
        f"{STEPS} tokens": steps,
        "a picture": lambda: model.vision.rows(pixels, (side, side)),
    }


def _printed(log: Path) -> Iterator[Finding]:
    """The lines of this process's output that name kernels, each once."""
    if sys.platform != "win32":
        ctypes.CDLL(None).fflush(None)
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    telling = (line for line in lines if any(word in line.lower() for word in PRINTED))
    for line, count in Counter(telling).most_common(LINES):
        yield Finding("printed by onnxruntime", count, words=line.strip()[:200])
