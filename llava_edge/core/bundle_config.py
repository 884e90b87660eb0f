"""What a bundle is: the frozen dataclasses that `bundle.json` holds, and their only definition."""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from llava_edge.core.strict import PositiveFloat
from llava_edge.core.weight_formats import Method, TowerFormat

FORMAT_VERSION = 4

Length = Annotated[int, Meta(ge=1, lt=2**31, description="a whole number from 1 to 2,147,483,647")]
ByteCount = Annotated[int, Meta(ge=0, le=2**63 - 1, description="a number of bytes")]
DeviceName = Literal["cpu", "gpu"]
QuantizedBefore = Literal[  # by whoever made the checkpoint
    "gptq", "awq", "bitsandbytes", "compressed-tensors", "fp8"
]
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class ImageConfig:
    """How a picture becomes pixels: resized to `size` x `size`, then (x / 255 - mean) / std.

    `mode` is LLaVA's `image_aspect_ratio`: "square" resizes the shortest edge to `shortest_edge`
    and crops the centre (CLIP's own preprocessing), "pad" first pastes the picture on a square of
    the mean colour. "stretch" resizes whatever shape it has (SigLIP's own). `resample` is Pillow's
    filter.
    """

    size: Length
    mean: tuple[float, float, float]
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    mode: Literal["square", "pad", "stretch"]
    shortest_edge: Length | None = None  # None: `size`
    resample: Literal["bicubic", "bilinear", "lanczos"] = "bicubic"


@dataclass(frozen=True)
class TensorRef:
    """Where a tensor lies in `weights.bin`: little-endian, row-major, at `offset` bytes."""

    offset: ByteCount
    shape: tuple[int, ...]
    dtype: str  # numpy's name, or "bfloat16"


@dataclass(frozen=True)
class TilesConfig:
    """LLaVA-NeXT's "anyres": a picture is also cut into tiles at the best of a few sizes."""

    grid_pinpoints: tuple[tuple[Length, Length], ...]  # (height, width), multiples of the tower's
    newline: TensorRef  # the row [D] float32 that ends each line of image tokens


@dataclass(frozen=True)
class VisionConfig:
    """The vision graph: which kind of tower it holds and how many rows it yields for a tile."""

    model_type: str  # as in the checkpoint's vision_config
    image: ImageConfig
    image_tokens: Length
    tiles: TilesConfig | None = None  # None: a picture is one tile


@dataclass(frozen=True)
class PromptConfig:
    """A prompt format as plain text pieces; `prompt.py` is the only code that joins them.

        bos (opening | system_prefix SYSTEM system_suffix)
            (user_prefix USER user_suffix assistant_prefix
             answer_prefix ANSWER assistant_suffix)*    with turn_separator between

    `opening` is what stands first where a conversation brings no system words of its own. Only
    `answer_prefix ANSWER assistant_suffix` counts in the training loss. An answer ends at a token
    of `stop`, or before a string of `stop_strings`.

    What USER is, `pictures` says:

        as_written    the words, with a picture at each `<image>`, as LLaVA's own formats have it
        in_place      the same, but (image_prefix PICTURE image_suffix) at each `<image>`, and
                      `words_prefix` before words that begin the turn
        first         (image_prefix PICTURE image_suffix)* words_prefix WORDS, where `words_gap`
                      joins words that a picture stood between
    """

    name: str
    bos: str
    opening: str
    system_prefix: str | None  # None: the format has no place for system words
    system_suffix: str
    user_prefix: str
    user_suffix: str
    assistant_prefix: str
    answer_prefix: str
    assistant_suffix: str
    turn_separator: str
    image_suffix: str  # stands between a picture and the words after it
    stop: tuple[str, ...]  # special tokens that end an answer
    stop_strings: tuple[str, ...] = ()  # plain words that do
    user_words: bool = True  # False: of what the user says, the pictures alone are kept
    pictures: Literal["as_written", "in_place", "first"] = "as_written"
    image_prefix: str = ""
    words_prefix: str = ""
    words_gap: str = ""
    image_token: str = ""  # the words around a picture are encoded as around it; "": each by itself
    trimmed: tuple[Role, ...] = ()  # whose words lose the white space around them


@dataclass(frozen=True)
class EmbeddingConfig:
    """The embedding table, whose rows the host gathers.

    4 and 8 bits: row = (data - zero_points) * scales, per block of `block_size` columns, in the
    layout of MatMulNBits (B = ceil(D / block_size); data [V, B, block_size * bits / 8] uint8,
    scales [V, B], zero_points [V, ceil(B * bits / 8)] uint8, without which each is 8 or 128; of two
    4-bit values in a byte the first is the lower half), so that a tied head is the same bytes. 16
    and 32 bits: data [V, D], no scales.
    """

    bits: Literal[4, 8, 16, 32]
    block_size: Length
    data: TensorRef
    scales: TensorRef | None
    zero_points: TensorRef | None


@dataclass(frozen=True)
class DecoderConfig:
    """The shapes of the decoder graph and of its KV cache [1, num_kv_heads, length, head_dim]."""

    hidden_size: Length
    num_layers: Length
    num_heads: Length
    num_kv_heads: Length
    head_dim: Length
    vocab_size: Length
    context_length: Length
    embedding: EmbeddingConfig
    gpu_cache_bits: Literal[8, 16] = 16  # of each number in the KV cache of a GPU's graph
    stop_ids: tuple[int, ...] = ()  # that end an answer, beside the prompt format's stop tokens

    def __post_init__(self) -> None:
        beyond = [id for id in self.stop_ids if not 0 <= id < self.vocab_size]
        if beyond:
            raise ValueError(f"stop_ids has {beyond[0]}, but vocab_size is {self.vocab_size}")

    def cache_type(self, graph: DeviceName) -> str:
        """numpy's name for the numbers in the KV cache of a graph."""
        if graph == "cpu":
            return "float32"
        return "float16" if self.gpu_cache_bits == 16 else "int8"


@dataclass(frozen=True)
class QuantizationConfig:
    """How the weights were stored; a library's name means as that library had quantized them."""

    method: Literal[Method, QuantizedBefore]
    bits: int  # of the decoder's linear layers, but for `eight_bit_layers`
    block_size: int
    head_bits: int
    embedding_bits: int
    tower: TowerFormat
    weights: int  # in the language model's matrices
    bits_per_weight: float  # of these, scales and zero points included
    eight_bit_layers: tuple[str, ...] = ()  # where others have fewer


@dataclass(frozen=True)
class QualityLimits:
    """How far a bundle may be from the original before `llava-edge verify` refuses it."""

    image_cosine: float  # at least, of image embeddings
    kl_mean: float  # at most, in nats a token
    top1_agreement: float  # at least, 0..1
    perplexity_increase: float  # at most, of either perplexity; 0.1 is a tenth


@dataclass(frozen=True)
class Quality:
    """How far a bundle is from the original, on the same pictures and prompts.

    Cosine and largest error of image embeddings; KL divergence of the next token's distribution
    from the original's, in nats; how often both find the same token likeliest; perplexities.
    """

    pictures: int
    tokens: int  # whose distributions were compared
    image_cosine: float  # the mean over all rows
    image_max_error: float
    kl_mean: float
    kl_p99: float  # the 99th percentile
    top1_agreement: float
    text_perplexity: float
    text_perplexity_original: float
    answer_perplexity: float  # of answers about pictures
    answer_perplexity_original: float
    limits: QualityLimits
    broken: tuple[str, ...] = ()  # the limits that are not kept
    accepted: bool = False  # although limits are broken


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and sha256 of a file in the bundle."""

    size: ByteCount
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
    devices: tuple[DeviceName, ...]  # those that there are graphs for
    provenance: dict[str, str]
    files: dict[str, FileRecord]
    quality: Quality | None = None  # None: never verified

    @property
    def size(self) -> int:
        """Bytes of all its files, but for `bundle.json` itself."""
        return sum(record.size for record in self.files.values())
