"""The two graphs of a bundle in onnxruntime, without any of the runtime's code around them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from llava_edge.core.bundle import decoder_onnx, read_bundle, vision_onnx
from llava_edge.core.bundle_config import DeviceName
from llava_edge.export.quantization.precision import Precision
from llava_edge.runtime.embedding_table import EmbeddingTable

Array = NDArray[np.float32]
EXACT = Precision("none", tower="fp32")


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """A graph on the CPU, whatever device it was written for."""
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


class Sessions:
    """A bundle that is only computed with."""

    def __init__(self, folder: Path, device: DeviceName = "cpu") -> None:
        self._folder = folder
        self._config = read_bundle(folder)
        self._cache_type = {"cpu": np.float32, "gpu": np.float16}[device]
        self._vision = open_session(folder / vision_onnx(device))
        self._decoder = open_session(folder / decoder_onnx(device))
        self.forget()

    def forget(self) -> None:
        """Begin with an empty KV cache."""
        decoder, self.length = self._config.decoder, 0
        shape = (1, decoder.num_kv_heads, decoder.context_length, decoder.head_dim)
        names = [f"{i}.{part}" for i in range(decoder.num_layers) for part in ("key", "value")]
        zeros = np.zeros(shape, self._cache_type)
        self._cache = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(zeros.copy()) for name in names
        }

    def image_embeds(self, pixels: Array) -> Array:
        """[n, 3, H, W] -> [n, T, D]"""
        (embeds,) = self._vision.run(None, {"pixel_values": pixels})
        return np.asarray(embeds)

    def embedding_table(self) -> Array:
        """[V, D]"""
        config = self._config.decoder
        table = EmbeddingTable(
            self._folder / "weights.bin",
            config.embedding,
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
        )
        return table.rows(range(config.vocab_size))

    def logits(self, rows: Array, positions: Sequence[int] | None = None) -> Array:
        """Append rows [S, D] to the cache -> [P, V], by default for every row."""
        self.length += len(rows)
        positions = range(len(rows)) if positions is None else positions
        binding = self._decoder.io_binding()
        binding.bind_cpu_input("inputs_embeds", rows[None])
        binding.bind_cpu_input("seqlens_k", np.array([self.length - 1], np.int32))
        binding.bind_cpu_input("total_sequence_length", np.array(self.length, np.int32))
        binding.bind_cpu_input("logit_positions", np.array(positions, np.int64))
        binding.bind_output("logits")
        for name, value in self._cache.items():
            binding.bind_ortvalue_input(f"past_key_values.{name}", value)
            binding.bind_ortvalue_output(f"present.{name}", value)
        self._decoder.run_with_iobinding(binding)
        return np.asarray(binding.copy_outputs_to_cpu()[0][0])

    def greedy(self, rows: Array, steps: int, *, cached: bool = True) -> list[int]:
        """The likeliest ids after the rows [S, D], with the KV cache or computing all anew."""
        table, ids = self.embedding_table(), list[int]()
        self.forget()
        for _ in range(steps):
            ids.append(int(self.logits(rows, [len(rows) - 1])[0].argmax()))
            row = table[ids[-1:]]
            rows = row if cached else np.concatenate([rows, row])
            if not cached:
                self.forget()
        return ids
