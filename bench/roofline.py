"""The shortest time that a stage can take on this machine, by its bytes and its arithmetic.

Decode reads the language model's weights (scales, zero points and head included, as they lie in the
bundle) and the KV cache once a token: bytes / bandwidth. Prefill and the vision tower compute:
operations / peak, two for each weight and row, attention's products added.

Not counted: norms, activations, rotary embeddings and sampling; that graphs for CPUs hold scales in
float32 once they are loaded; reading weights during prefill; and caches: where the weights fit in
the largest one, decode may be faster than memory allows, with a share above 100%.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from llava_edge.core.bundle import decoder_onnx, vision_onnx
from llava_edge.core.extras import needed_by
from llava_edge.runtime.devices.device import onnxruntime_library
from llava_edge.runtime.expected_memory import expected_memory
from llava_edge.runtime.model import Llava

PRODUCTS = ("MatMul", "FusedMatMul", "Gemm", "MatMulInteger", "MatMulNBits")


@dataclass(frozen=True)
class Roofline:
    """What a bundle reads and computes, and how fast the machine can do that."""

    model: Llava
    bandwidth: float  # bytes a second
    products: float  # operations a second, of rows with the decoder's weights
    floats: float  # the same of attention and of the vision tower
    decoder_bytes: int  # of weights that a token reads
    tied: bool  # embedding table and head are the same bytes

    @cached_property
    def tile_operations(self) -> int:
        """Of vision tower and projector for a tile; the graph runs once on the CPU to count."""
        return _tile_operations(self.model)

    def least(self, kind: str, amount: int) -> float | None:
        """The fewest seconds of such a StageTime; None where that is not known."""
        of_kind = {"decode": self.decode, "prefill": self.prefill, "encode": self.encode}.get(kind)
        return of_kind(amount) if of_kind else None

    def decode(self, context: int) -> float:
        """Seconds for a token after `context` tokens."""
        cached = context * expected_memory(self.model.config, self.model.device).kv_cache_per_token
        return (self.decoder_bytes + cached) / self.bandwidth

    def prefill(self, tokens: int) -> float:
        """Seconds to read so many tokens into an empty cache, with the logits of the last."""
        config = self.model.config
        decoder = config.decoder
        head = decoder.vocab_size * decoder.hidden_size
        layers = config.quantization.weights - head * (1 if self.tied else 2)
        pairs = tokens * (tokens + 1) // 2  # of queries and keys
        attention = 4 * decoder.num_layers * decoder.num_heads * decoder.head_dim * pairs
        return 2 * (layers * tokens + head) / self.products + attention / self.floats

    def encode(self, tiles: int) -> float:
        """Seconds for the vision tower and the projector."""
        return tiles * self.tile_operations / self.floats


def roofline(
    model: Llava, bandwidth: float, *, floats: float, whole_numbers: float | None = None
) -> Roofline:
    """The roofline of a bundle.

    `bandwidth` is in bytes a second; `floats` are operations a second in the type that the graphs
    compute in, `whole_numbers` those in 8-bit integers, where a decoder multiplies in them.
    """
    with needed_by("`llava-edge bench`", "bench"):
        import onnx
    path = model.path / decoder_onnx(model.device.graph)
    graph = onnx.load(path, load_external_data=False).graph
    stored = {tensor.name: _external(tensor) for tensor in graph.initializer}
    tables = ("rotary.",)  # of which a token reads one row
    in_whole_numbers = any(
        attribute.name == "accuracy_level" and attribute.i == 4
        for node in graph.node
        for attribute in node.attribute
    )
    return Roofline(
        model=model,
        bandwidth=bandwidth,
        products=whole_numbers if in_whole_numbers and whole_numbers else floats,
        floats=floats,
        decoder_bytes=sum(
            entry.get("length", 0) for name, entry in stored.items() if not name.startswith(tables)
        ),
        tied=any(
            entry.get("offset") == model.config.decoder.embedding.data.offset
            for entry in stored.values()
        ),
    )


def _external(tensor: Any) -> dict[str, int]:
    """Where an initializer lies in weights.bin; empty for one that is in the graph itself."""
    return {e.key: int(e.value) for e in tensor.external_data if e.key in ("offset", "length")}


def _tile_operations(model: Llava) -> int:
    """Counted from the shapes in onnxruntime's profile of the unoptimized graph."""
    onnxruntime = onnxruntime_library()
    side = model.config.vision.image.size
    with TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "vision")
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(
            model.path / vision_onnx(model.device.graph),
            options,
            providers=["CPUExecutionProvider"],
        )
        session.run(None, {"pixel_values": np.zeros((1, 3, side, side), np.float32)})
        events = json.loads(Path(session.end_profiling()).read_text())
    return sum(_node_operations(event["args"]) for event in events if event.get("cat") == "Node")


def _node_operations(node: dict[str, Any]) -> int:
    """Operations of one node; 0 where it multiplies no matrices."""
    kind = node.get("op_name")
    if kind not in (*PRODUCTS, "Conv", "ConvInteger", "MultiHeadAttention"):
        return 0
    inputs, outputs = _shapes(node["input_type_shape"]), _shapes(node["output_type_shape"])
    if kind in PRODUCTS:
        return 2 * prod(outputs[0]) * inputs[0][-1]  # [.., K] x [K, N]
    if kind == "MultiHeadAttention":
        return 4 * prod(inputs[0]) * inputs[1][1]  # queries [n, S, D], keys [n, L, D]
    return 2 * prod(outputs[0]) * prod(inputs[1][1:])  # kernels [out, in, height, width]


def _shapes(listed: list[dict[str, list[int]]]) -> list[list[int]]:
    """The shapes of a list in the profile, which has a type before each."""
    return [shape for entry in listed for shape in entry.values()]
