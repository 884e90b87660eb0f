"""The scales of a KV cache of 8-bit integers, from the keys and values of samples."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as HfTokenizer

from llava_edge.core.bundle import TOKENIZER_JSON, WEIGHTS_BIN, decoder_onnx, vision_onnx
from llava_edge.core.bundle_config import BundleConfig
from llava_edge.core.prompt import Message, Picture, render
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.export.comparison_samples import QUESTIONS, draw_picture, text_samples
from llava_edge.runtime.decoder import Decoder
from llava_edge.runtime.devices.device import CPU
from llava_edge.runtime.scoring import Sample
from llava_edge.runtime.vision_encoder import VisionEncoder

PICTURES, TEXTS = 8, 8
LONGEST = 4096  # tokens of a sample; the largest models' whole context would not fit in memory
MARGIN = 1.1  # over the largest that was seen; what is larger still is cut off
LARGEST = 127  # of 8 bits


def measure_scales(folder: Path, config: BundleConfig) -> NDArray[np.float32]:
    """Read samples with the graphs in a folder -> [layers, 2, kv heads, head dim].

    Drawn pictures and a text are read on the CPU. Raises LlavaEdgeError without onnxruntime.
    """
    device = replace(CPU, graph=config.devices[0])
    tokenizer = Tokenizer(HfTokenizer.from_file(str(folder / TOKENIZER_JSON)))
    decoder = Decoder(
        folder / decoder_onnx(device.graph),
        folder / WEIGHTS_BIN,
        config.decoder,
        device,
        context=min(config.decoder.context_length, LONGEST),
    )
    vision = VisionEncoder(
        folder / vision_onnx(device.graph),
        folder / WEIGHTS_BIN,
        config.vision,
        device,
        hidden_size=config.decoder.hidden_size,
    )
    cache, largest = decoder.new_cache(), np.float32(0)
    for sample in _samples(config, tokenizer):
        picture = None if sample.picture is None else vision.encode(sample.picture).rows
        rows = sample.rows(decoder.embed, picture)[: decoder.context - 1]
        cache.rewind(0)
        decoder.read(cache, rows)
        largest = np.maximum(largest, np.abs(cache.numbers()).max(axis=3).astype(np.float32))
    scales: NDArray[np.float32] = np.where(largest > 0, largest, 1) * np.float32(MARGIN / LARGEST)
    return scales


def _samples(config: BundleConfig, tokenizer: Tokenizer) -> list[Sample]:
    pictures = []
    for number in range(PICTURES):
        question = Message("user", [Picture(), QUESTIONS[number % 4]])
        segments = tuple(render([question], config.prompt, tokenizer))
        pictures.append(Sample(segments, draw_picture(number)))
    return [*pictures, *text_samples(tokenizer)[:TEXTS]]
