"""What config.json says of a LLaVA checkpoint, read strictly.

Values that a file leaves out take transformers' defaults, since its older releases wrote only what
differs from them.
"""

from dataclasses import dataclass
from typing import Literal

from llava_edge.errors import CheckpointError
from llava_edge.export.checkpoint_section import Section


@dataclass(frozen=True)
class ClipConfig:
    """A CLIP vision transformer."""

    image_size: int
    patch_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    layer_norm_eps: float
    hidden_act: str  # "quick_gelu" or "gelu"


@dataclass(frozen=True)
class EfficientNetLiteConfig:
    """A mobile CNN; a stage is (kernel, stride, expand ratio, channels, repeats)."""

    image_size: int
    stem_channels: int
    stages: tuple[tuple[int, int, int, int, int], ...]
    head_channels: int
    fine_stage: int  # whose output joins the head's map at twice its resolution

    @property
    def hidden_size(self) -> int:
        return self.head_channels + 4 * self.stages[self.fine_stage][3]


@dataclass(frozen=True)
class TextConfig:
    """A Llama decoder."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    rms_norm_eps: float
    rope_theta: float
    context_length: int
    tied: bool
    attention_bias: bool
    mlp_bias: bool


@dataclass(frozen=True)
class LlavaConfig:
    """Tower, projector and language model.

    `feature_layers` index the tower's hidden states (0: what enters the first layer), negative
    ones from the end; the rows of several layers are concatenated.
    """

    tower: ClipConfig | EfficientNetLiteConfig
    text: TextConfig
    feature_layers: tuple[int, ...]
    keep_class_token: bool
    projector: Literal["mlp2x_gelu", "linear"]
    projector_bias: bool


def read_llava_config(config: Section) -> LlavaConfig:
    """Raises CheckpointError where config.json asks for what export does not support."""
    _refuse_quantized(config)
    if not config.has("vision_config"):
        raise CheckpointError(
            f"{config.where} has no vision_config, so this is no Hugging Face LLaVA checkpoint; "
            "convert it to LlavaForConditionalGeneration first."
        )
    config.choice("model_type", ("llava",))
    config.choice("projector_hidden_act", ("gelu",), "gelu")
    tower = _tower(config.section("vision_config"))
    strategy = config.choice("vision_feature_select_strategy", ("default", "full"), "default")
    linear = config.choice("mm_projector_type", ("mlp2x_gelu", "linear"), "mlp2x_gelu") == "linear"
    text = config.section("text_config")
    return LlavaConfig(
        tower=tower,
        text=read_text_config(text, tied=config.flag("tie_word_embeddings", False)),
        feature_layers=_feature_layers(config, tower),
        keep_class_token=strategy == "full",
        projector="linear" if linear else "mlp2x_gelu",
        projector_bias=config.flag("multimodal_projector_bias", True),
    )


def read_text_config(text: Section, tied: bool = False) -> TextConfig:
    """Read a Llama's configuration; `tied` where the LLaVA around it says so already."""
    _refuse_quantized(text)
    text.choice("model_type", ("llama",), "llama")
    text.choice("hidden_act", ("silu",), "silu")
    if text.has("sliding_window"):
        raise CheckpointError(
            f"{text.where} asks for a sliding_window, which export does not support; "
            "choose a language model with full attention."
        )
    hidden_size = text.integer("hidden_size", 4096)
    num_heads = text.integer("num_attention_heads", 32)
    num_kv_heads = text.integer("num_key_value_heads", num_heads)
    if num_heads % num_kv_heads:
        raise CheckpointError(
            f"{text.where} gives {num_heads} attention heads and {num_kv_heads} key-value heads, "
            "but the first must be a multiple of the second."
        )
    return TextConfig(
        hidden_size=hidden_size,
        intermediate_size=text.integer("intermediate_size", 11008),
        num_layers=text.integer("num_hidden_layers", 32),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=text.integer("head_dim", hidden_size // num_heads),
        vocab_size=text.integer("vocab_size", 32000),
        rms_norm_eps=text.number("rms_norm_eps", 1e-6),
        rope_theta=_rope_theta(text),
        context_length=text.integer("max_position_embeddings", 2048),
        tied=tied or text.flag("tie_word_embeddings", False),
        attention_bias=text.flag("attention_bias", False),
        mlp_bias=text.flag("mlp_bias", False),
    )


def _refuse_quantized(config: Section) -> None:
    if config.has("quantization_config"):
        raise CheckpointError(
            f"{config.where} describes a quantized checkpoint, which export does not support; "
            "give the checkpoint in 16 or 32 bits."
        )


def _rope_theta(text: Section) -> float:
    """`rope_parameters` since transformers 5, `rope_theta` and `rope_scaling` before."""
    rope = text.section("rope_parameters") if text.has("rope_parameters") else text
    scaling = text.section("rope_scaling") if text.has("rope_scaling") else rope
    kind = scaling.text("rope_type", scaling.text("type", "default"))
    partial = rope.number("partial_rotary_factor", text.number("partial_rotary_factor", 1.0))
    if kind != "default" or partial != 1:
        what = f'"{kind}" rope scaling' if kind != "default" else "partial rotary embeddings"
        raise CheckpointError(
            f"{text.where} asks for {what}, which export does not support; "
            "choose a language model with plain rotary embeddings."
        )
    return rope.number("rope_theta", text.number("rope_theta", 10000.0))


def _tower(vision: Section) -> ClipConfig | EfficientNetLiteConfig:
    kinds = ("clip_vision_model", "efficientnet_lite")
    kind = vision.choice("model_type", kinds, "clip_vision_model")
    return _clip(vision) if kind == "clip_vision_model" else _efficientnet_lite(vision)


def _clip(vision: Section) -> ClipConfig:
    if vision.integer("num_channels", 3) != 3:
        raise CheckpointError(f"{vision.where} must give 3 as num_channels: pictures are RGB.")
    config = ClipConfig(
        image_size=vision.integer("image_size", 224),
        patch_size=vision.integer("patch_size", 32),
        hidden_size=vision.integer("hidden_size", 768),
        intermediate_size=vision.integer("intermediate_size", 3072),
        num_layers=vision.integer("num_hidden_layers", 12),
        num_heads=vision.integer("num_attention_heads", 12),
        layer_norm_eps=vision.number("layer_norm_eps", 1e-5),
        hidden_act=vision.choice("hidden_act", ("quick_gelu", "gelu"), "quick_gelu"),
    )
    if config.hidden_size % config.num_heads or config.image_size < config.patch_size:
        raise CheckpointError(
            f"{vision.where} contradicts itself: hidden_size must be a multiple of "
            "num_attention_heads, and image_size at least patch_size."
        )
    return config


def _efficientnet_lite(vision: Section) -> EfficientNetLiteConfig:
    value = vision.values.get("stages")
    rows = value if isinstance(value, list) else []
    stages = []
    for position, row in enumerate(rows):
        stage = Section({"stages": row}, f"{vision.where}, stage {position},").integers("stages", 5)
        kernel, stride, ratio, channels, repeats = stage
        stages.append((kernel, stride, ratio, channels, repeats))
    fine_stage = vision.values.get("fine_stage")
    if not stages or type(fine_stage) is not int or not 0 <= fine_stage < len(stages):
        raise CheckpointError(
            f"{vision.where} must give stages, a list of [kernel, stride, expand, channels, "
            "repeats], and fine_stage, the position of one of them."
        )
    return EfficientNetLiteConfig(
        image_size=vision.integer("image_size"),
        stem_channels=vision.integer("stem_channels"),
        stages=tuple(stages),
        head_channels=vision.integer("head_channels"),
        fine_stage=fine_stage,
    )


def _feature_layers(config: Section, tower: ClipConfig | EfficientNetLiteConfig) -> tuple[int, ...]:
    value = config.values.get("vision_feature_layer", -2)
    if isinstance(tower, EfficientNetLiteConfig):
        if value != -1 or config.values.get("vision_feature_select_strategy") != "full":
            raise CheckpointError(
                f"{config.where} must give -1 as vision_feature_layer and "
                '"full" as vision_feature_select_strategy, since an efficientnet_lite tower has '
                "neither layers to choose from nor a class token."
            )
        return (-1,)
    layers = (value,) if type(value) is int else config.integers("vision_feature_layer")
    states = tower.num_layers + 1
    if not layers or not all(-states <= layer < states for layer in layers):
        raise CheckpointError(
            f"{config.where} gives {value} as vision_feature_layer, but the tower has "
            f"{states} hidden states to choose from."
        )
    return layers
