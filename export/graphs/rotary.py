"""The cosines and sines of rotary position embeddings, as transformers computes them."""

import math

import numpy as np

from llava_edge.core.array_types import Floats
from llava_edge.export.layouts.text_config import Rope, TextConfig


def rotary_angles(config: TextConfig) -> Floats:
    """Angles [context length, head dim / 2], rounded where transformers rounds."""
    theta = np.float32(config.rope.theta)
    exponents = np.arange(0, config.head_dim, 2, dtype=np.float32) / np.float32(config.head_dim)
    frequencies = _stretch(np.reciprocal(np.power(theta, exponents)), config.rope)
    return np.outer(np.arange(config.context_length, dtype=np.float32), frequencies)


def _stretch(frequencies: Floats, rope: Rope) -> Floats:
    if rope.kind == "default":
        return frequencies
    slow = frequencies / np.float32(rope.factor)
    if rope.kind == "linear":
        return slow
    wavelengths = 2 * math.pi / frequencies
    low, high = (rope.original_length / f for f in (rope.low_frequency, rope.high_frequency))
    smooth = (rope.original_length / wavelengths - rope.low_frequency) / np.float32(
        rope.high_frequency - rope.low_frequency
    )
    between = (1 - smooth) * slow + smooth * frequencies
    stretched = np.where(
        wavelengths > low, slow, np.where(wavelengths < high, frequencies, between)
    )
    return stretched.astype(np.float32)
