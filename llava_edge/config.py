"""What a bundle is: the frozen dataclasses that `bundle.json` holds, and their only definition."""

from dataclasses import dataclass
from typing import Literal

FORMAT_VERSION = 1


@dataclass(frozen=True)
class ImageConfig:
    """How a picture becomes pixels: resized (bicubic) to `size` x `size`, (x / 255 - mean) / std.

    `mode` is LLaVA's `image_aspect_ratio`: "square" resizes the shortest edge and crops the centre
    (CLIP's own preprocessing), "pad" first pastes the picture on a square of the mean colour.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    mode: Literal["square", "pad"]


@dataclass(frozen=True)
class VisionConfig:
    """The vision graph: which kind of tower it holds and how many rows it yields for a picture."""

    model_type: str  # "clip_vision_model" or "efficientnet_lite", as in the checkpoint
    image: ImageConfig
    image_tokens: int


@dataclass(frozen=True)
class PromptConfig:
    """A prompt format as plain text pieces; `prompt.py` is the only code that joins them.

        bos system (user_prefix USER user_suffix assistant_prefix
                    answer_prefix ANSWER assistant_suffix turn_separator)*

    Only `answer_prefix ANSWER assistant_suffix` counts in the training loss.
    """

    name: str
    bos: str
    system: str
    user_prefix: str
    user_suffix: str
    assistant_prefix: str
    answer_prefix: str
    assistant_suffix: str
    turn_separator: str
    image_suffix: str  # stands between a picture that is put first and the words after it
    stop: tuple[str, ...]  # special tokens that end an answer


@dataclass(frozen=True)
class TensorRef:
    """Where a tensor lies in `weights.bin`: little-endian, row-major, at `offset` bytes."""

    offset: int
    shape: tuple[int, ...]
    dtype: str  # numpy's name


@dataclass(frozen=True)
class EmbeddingConfig:
    """The embedding table, whose rows the host gathers.

    8 bits: row = (data - zero_points) * scales, per block of `block_size` columns, in the layout of
    MatMulNBits (data [V, D / block, block] uint8, scales and zero_points [V, D / block]), so that a
    tied head is the same bytes. 32 bits: data [V, D] float32, no scales.
    """

    bits: Literal[8, 32]
    block_size: int
    data: TensorRef
    scales: TensorRef | None
    zero_points: TensorRef | None


@dataclass(frozen=True)
class DecoderConfig:
    """The shapes of the decoder graph and of its KV cache [1, num_kv_heads, length, head_dim]."""

    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    context_length: int
    embedding: EmbeddingConfig


@dataclass(frozen=True)
class QuantizationConfig:
    """How the decoder's weights were stored.

    "kquant_mixed": `bits` for the MLP's gate and up, 8 for every other linear layer.
    """

    method: Literal["kquant", "kquant_mixed", "none"]
    bits: int  # of the linear layers
    block_size: int
    head_bits: int
    embedding_bits: int


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and sha256 of a file in the bundle."""

    size: int
    sha256: str


@dataclass(frozen=True)
class BundleConfig:
    """Everything `bundle.json` says."""

    format_version: int
    name: str
    vision: VisionConfig
    prompt: PromptConfig
    decoder: DecoderConfig
    quantization: QuantizationConfig
    provenance: dict[str, str]
    files: dict[str, FileRecord]
