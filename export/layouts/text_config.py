"""What config.json says of a language model, read strictly.

Values that a file leaves out take the defaults of transformers' class for that model_type, since
its older releases wrote only what differs from them.
"""

from dataclasses import dataclass, field
from typing import Literal

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError


@dataclass(frozen=True)
class Rope:
    """Rotary position embeddings (arXiv 2104.09864) and how they are stretched.

    "linear" divides positions by `factor`; "llama3" divides frequencies by it, those whose
    wavelength is above original_length / low_frequency in full, those below original_length /
    high_frequency not at all.
    """

    theta: float
    kind: Literal["default", "linear", "llama3"] = "default"
    factor: float = 1.0
    low_frequency: float = 1.0
    high_frequency: float = 4.0
    original_length: int = 8192


@dataclass(frozen=True)
class TextConfig:
    """A decoder of the Llama family."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    rms_norm_eps: float
    rope: Rope
    context_length: int
    tied: bool
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    qk_norm: bool  # each head's queries and keys are normalized before they are rotated
    rotary_layers: tuple[bool, ...]  # which layers rotate queries and keys
    windows: tuple[int, ...]  # how many tokens a layer looks back at, itself included; 0: all
    model_type: str = field(default="llama", compare=False)  # as transformers calls it


@dataclass(frozen=True)
class _Family:
    """What one model_type of transformers does, and its defaults where a file is silent."""

    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_layers: int = 32
    num_heads: int = 32
    num_kv_heads: int | None = None  # None: as many as heads
    head_dim: int | None = None  # None: hidden size / heads
    vocab_size: int = 32000
    context_length: int = 2048
    rope_theta: float = 10000.0
    tied: bool = False
    qkv_bias: bool | None = None  # None: attention_bias says it, of all four
    qk_norm: bool = False
    window: int | None = None  # None: only where use_sliding_window says so
    no_rope_interval: int | None = None


_FAMILIES = {
    "llama": _Family(),
    "mistral": _Family(
        intermediate_size=14336, num_kv_heads=8, context_length=131072, qkv_bias=False, window=4096
    ),
    "qwen2": _Family(
        intermediate_size=22016, vocab_size=151936, context_length=32768, qkv_bias=True
    ),
    "qwen3": _Family(
        intermediate_size=22016, head_dim=128, vocab_size=151936, context_length=32768, qk_norm=True
    ),
    "smollm3": _Family(
        hidden_size=2048,
        num_layers=36,
        num_heads=16,
        num_kv_heads=4,
        vocab_size=128256,
        context_length=32768,
        rope_theta=2e6,
        tied=True,
        no_rope_interval=4,
    ),
}
MODEL_TYPES = tuple(_FAMILIES)


def read_text_config(text: Section, tied: bool = False) -> TextConfig:
    """Read a language model's configuration; `tied` where the LLaVA around it says so already.

    Raises CheckpointError where it asks for what export does not support.
    """
    model_type = text.choice("model_type", MODEL_TYPES, "llama")
    family = _FAMILIES[model_type]
    text.choice("hidden_act", ("silu",), "silu")
    hidden_size = text.integer("hidden_size", family.hidden_size)
    num_heads = text.integer("num_attention_heads", family.num_heads)
    num_kv_heads = text.integer("num_key_value_heads", family.num_kv_heads or num_heads)
    if num_heads % num_kv_heads:
        raise CheckpointError(
            f"{text.where} gives {num_heads} attention heads and {num_kv_heads} key-value heads, "
            "but the first must be a multiple of the second; correct the file."
        )
    num_layers = text.integer("num_hidden_layers", family.num_layers)
    context_length = text.integer("max_position_embeddings", family.context_length)
    attention_bias = text.flag("attention_bias", False) if family.qkv_bias is None else False
    return TextConfig(
        hidden_size=hidden_size,
        intermediate_size=text.integer("intermediate_size", family.intermediate_size),
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=text.integer("head_dim", family.head_dim or hidden_size // num_heads),
        vocab_size=text.integer("vocab_size", family.vocab_size),
        rms_norm_eps=text.number("rms_norm_eps", 1e-6),
        rope=_rope(text, family, context_length),
        context_length=context_length,
        tied=tied or text.flag("tie_word_embeddings", family.tied),
        qkv_bias=attention_bias or family.qkv_bias is True,
        output_bias=attention_bias,
        mlp_bias=text.flag("mlp_bias", False),
        qk_norm=family.qk_norm,
        rotary_layers=_rotary_layers(text, family, num_layers),
        windows=_windows(text, family, num_layers),
        model_type=model_type,
    )


def _rotary_layers(text: Section, family: _Family, layers: int) -> tuple[bool, ...]:
    """SmolLM3 leaves every fourth layer without; no_rope_layers names them by a 0."""
    if family.no_rope_interval is None:
        return (True,) * layers
    if text.has("no_rope_layers"):
        listed = text.integers("no_rope_layers", layers)
        return tuple(flag != 0 for flag in listed)
    interval = text.integer("no_rope_layer_interval", family.no_rope_interval)
    return tuple((layer + 1) % interval != 0 for layer in range(layers))


def _windows(text: Section, family: _Family, layers: int) -> tuple[int, ...]:
    if family.window is None and not text.flag("use_sliding_window", False):
        return (0,) * layers
    if "sliding_window" in text.values and not text.has("sliding_window"):  # null: none at all
        return (0,) * layers
    window = text.integer("sliding_window", family.window or 4096)
    if text.has("layer_types"):
        kinds = text.strings("layer_types")
        if len(kinds) != layers or not set(kinds) <= {"full_attention", "sliding_attention"}:
            raise CheckpointError(
                f"{text.where} gives {len(kinds)} layer_types, but one of full_attention and "
                f"sliding_attention for each of {layers} layers is what export supports."
            )
        return tuple(window if kind == "sliding_attention" else 0 for kind in kinds)
    full = 0 if family.window is not None else text.integer("max_window_layers", 28)
    return tuple(window if layer >= full else 0 for layer in range(layers))


def _rope(text: Section, family: _Family, context_length: int) -> Rope:
    """`rope_parameters` since transformers 5, `rope_theta` and `rope_scaling` before."""
    rope = text.section("rope_parameters") if text.has("rope_parameters") else text
    scaling = text.section("rope_scaling") if text.has("rope_scaling") else rope
    kind = scaling.text("rope_type", scaling.text("type", "default"))
    partial = rope.number("partial_rotary_factor", text.number("partial_rotary_factor", 1.0))
    theta = rope.number("rope_theta", text.number("rope_theta", family.rope_theta))
    if partial != 1:
        kind = "partial"
    if kind == "default":
        return Rope(theta)
    if kind == "linear":
        return Rope(theta, "linear", scaling.number("factor"))
    if kind == "llama3":
        return Rope(
            theta,
            "llama3",
            scaling.number("factor"),
            scaling.number("low_freq_factor"),
            scaling.number("high_freq_factor"),
            scaling.integer("original_max_position_embeddings", context_length),
        )
    raise CheckpointError(
        f"{text.where} asks for {kind} rotary embeddings, but plain, linear and llama3 ones are "
        "what export supports; choose another language model."
    )
