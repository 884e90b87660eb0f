"""DecoderCall: the host's memory for one call of the decoder graph, which has to fit it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from llava_edge.core.array_types import Floats
from llava_edge.core.bundle_config import DecoderConfig
from llava_edge.errors import BundleError
from llava_edge.runtime.devices.device import Device
from llava_edge.runtime.kv_cache import CacheNumbers, KVCache, bind_host_memory

if TYPE_CHECKING:
    import onnxruntime

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DecoderCall:
    """What the graph is given of B times S rows and yields after P of each S, on the host."""

    binding: "onnxruntime.IOBinding"
    inputs_embeds: Floats  # [B, S, D]
    seqlens_k: npt.NDArray[np.int32]  # [B]
    total_sequence_length: npt.NDArray[np.int32]  # []
    logit_positions: Integers  # [P]
    logits: Floats  # [B, P, V]

    @classmethod
    def new(
        cls,
        binding: "onnxruntime.IOBinding",
        config: DecoderConfig,
        batch: int,
        rows: int,
        logit_rows: int,
    ) -> "DecoderCall":
        """Memory for so many rows, which `bind` names to the binding."""
        return cls(
            binding=binding,
            inputs_embeds=np.zeros((batch, rows, config.hidden_size), np.float32),
            seqlens_k=np.empty(batch, np.int32),
            total_sequence_length=np.empty((), np.int32),
            logit_positions=np.zeros(logit_rows, np.int64),
            logits=np.empty((batch, logit_rows, config.vocab_size), np.float32),
        )

    def fill(self, rows: Floats, positions: Sequence[int], before: int) -> None:
        """Set one conversation's inputs: up to S rows after `before` others; the rest stays."""
        self.inputs_embeds[0, : len(rows)] = rows
        self.logit_positions[:] = positions
        total = before + self.inputs_embeds.shape[1]
        self.seqlens_k[0] = total - 1
        self.total_sequence_length[...] = total

    def bind(self, cache: KVCache | CacheNumbers) -> None:
        """Name the memory to the binding; to another device the inputs are copied now, once.

        The cache, or on a CPU the memory of several: [layers, 2, B, kv_heads, rows, head_dim].
        """
        for name in ("inputs_embeds", "seqlens_k", "total_sequence_length", "logit_positions"):
            array = getattr(self, name)
            self.binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        logits = self.logits
        self.binding.bind_output("logits", "cpu", 0, np.float32, logits.shape, logits.ctypes.data)
        if isinstance(cache, KVCache):
            cache.bind(self.binding)
        else:
            bind_host_memory(self.binding, cache)


def check_decoder_graph(
    path: Path, session: "onnxruntime.InferenceSession", config: DecoderConfig, device: Device
) -> None:
    """Raise BundleError where a graph has not the shapes of bundle.json: it gets bare memory."""
    cache = (config.num_kv_heads, config.head_dim)
    expected = {
        "inputs_embeds": (config.hidden_size,),
        "logits": (config.vocab_size,),
        **({"top_logit": (1,), "top_id": (1,)} if device.graph == "gpu" else {}),
        **{
            f"{kind}.{layer}.{half}": cache
            for kind in ("past_key_values", "present")
            for layer in range(config.num_layers)
            for half in ("key", "value")
        },
    }
    found = {
        node.name: tuple(node.shape[1::2] if len(node.shape) == 4 else node.shape[2:])
        for node in (*session.get_inputs(), *session.get_outputs())
        if len(node.shape) > 1
    }
    if found != expected:
        names = sorted(name for name, _ in set(found.items()) ^ set(expected.items()))
        raise BundleError(
            f"The graph {path} and its bundle.json differ in {names[0]}; export the bundle again."
        )
