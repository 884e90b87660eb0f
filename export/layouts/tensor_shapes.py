"""Which tensors of which shape a LLaVA computes with, by its configuration."""

from collections.abc import Iterator

from llava_edge.export.layouts.llava_config import LlavaConfig
from llava_edge.export.layouts.text_config import TextConfig
from llava_edge.export.towers.tower_config import (
    ClipConfig,
    Dinov2Config,
    EfficientNetLiteConfig,
    SiglipConfig,
    VitConfig,
)

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def expected_shapes(config: LlavaConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor that is computed with, under its canonical name."""
    shapes = dict(_projector(config))
    shapes.update(_tower(config))
    shapes.update(_language_model(config.text))
    if config.grid_pinpoints:
        shapes["image_newline"] = (config.text.hidden_size,)
    return shapes


def depth(tower: VitConfig, config: LlavaConfig) -> int:
    """How many layers the last hidden state that is used has passed."""
    return max(layer % (tower.num_layers + 1) for layer in config.feature_layers)


def _tower(config: LlavaConfig) -> Shapes:
    tower = config.tower
    if isinstance(tower, EfficientNetLiteConfig):
        return _efficientnet_lite(tower)
    if isinstance(tower, Dinov2Config):
        return _dinov2(tower, depth(tower, config))
    return _clip(tower, depth(tower, config))


def _linear(name: str, outputs: int, inputs: int, bias: bool = True) -> Shapes:
    yield f"{name}.weight", (outputs, inputs)
    if bias:
        yield f"{name}.bias", (outputs,)


def _norm(name: str, size: int) -> Shapes:
    yield f"{name}.weight", (size,)
    yield f"{name}.bias", (size,)


def _clip(tower: ClipConfig | SiglipConfig, layers: int) -> Shapes:
    size, patch = tower.hidden_size, tower.patch_size
    embeddings = "vision_tower.embeddings"
    yield f"{embeddings}.patch_embedding.weight", (size, 3, patch, patch)
    yield f"{embeddings}.position_embedding.weight", (tower.side**2 + tower.has_class_token, size)
    if isinstance(tower, ClipConfig):
        yield f"{embeddings}.class_embedding", (size,)
        yield from _norm("vision_tower.pre_layrnorm", size)
    else:
        yield f"{embeddings}.patch_embedding.bias", (size,)
    for index in range(layers):
        layer = f"vision_tower.encoder.layers.{index}"
        yield from _norm(f"{layer}.layer_norm1", size)
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _linear(f"{layer}.self_attn.{part}", size, size)
        yield from _norm(f"{layer}.layer_norm2", size)
        yield from _linear(f"{layer}.mlp.fc1", tower.intermediate_size, size)
        yield from _linear(f"{layer}.mlp.fc2", size, tower.intermediate_size)


def _dinov2(tower: Dinov2Config, layers: int) -> Shapes:
    size, inner, patch = tower.hidden_size, tower.intermediate_size, tower.patch_size
    embeddings = "vision_tower.embeddings"
    yield f"{embeddings}.cls_token", (1, 1, size)
    positions = (tower.trained_size // patch) ** 2 + 1
    yield f"{embeddings}.position_embeddings", (1, positions, size)
    yield f"{embeddings}.patch_embeddings.projection.weight", (size, 3, patch, patch)
    yield f"{embeddings}.patch_embeddings.projection.bias", (size,)
    for index in range(layers):
        layer = f"vision_tower.encoder.layer.{index}"
        yield from _norm(f"{layer}.norm1", size)
        for part in ("query", "key", "value"):
            name = f"{layer}.attention.attention.{part}"
            yield from _linear(name, size, size, tower.qkv_bias)
        yield from _linear(f"{layer}.attention.output.dense", size, size)
        yield f"{layer}.layer_scale1.lambda1", (size,)
        yield from _norm(f"{layer}.norm2", size)
        if tower.swiglu:
            yield from _linear(f"{layer}.mlp.weights_in", 2 * inner, size)
            yield from _linear(f"{layer}.mlp.weights_out", size, inner)
        else:
            yield from _linear(f"{layer}.mlp.fc1", inner, size)
            yield from _linear(f"{layer}.mlp.fc2", size, inner)
        yield f"{layer}.layer_scale2.lambda1", (size,)


def _efficientnet_lite(tower: EfficientNetLiteConfig) -> Shapes:
    channels = tower.stem_channels
    yield from _convolution("vision_tower.stem", channels, 3, 3)
    index = 0
    for kernel, _, ratio, outputs, repeats in tower.stages:
        for _ in range(repeats):
            block = f"vision_tower.blocks.{index}"
            inner = channels * ratio
            if ratio != 1:
                yield from _convolution(f"{block}.expand", inner, channels, 1)
            yield from _convolution(f"{block}.depthwise", inner, 1, kernel)
            yield from _convolution(f"{block}.project", outputs, inner, 1)
            channels = outputs
            index += 1
    yield from _convolution("vision_tower.head", tower.head_channels, channels, 1)


def _convolution(name: str, outputs: int, inputs: int, kernel: int) -> Shapes:
    yield f"{name}.conv.weight", (outputs, inputs, kernel, kernel)
    for statistic in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.norm.{statistic}", (outputs,)


def _projector(config: LlavaConfig) -> Shapes:
    inputs = config.tower.hidden_size * len(config.feature_layers)
    for number in range(1, config.projector_layers + 1):
        name, outputs = f"multi_modal_projector.linear_{number}", config.text.hidden_size
        yield from _linear(name, outputs, inputs, config.projector_bias)
        inputs = outputs


def _language_model(text: TextConfig) -> Shapes:
    size, inner = text.hidden_size, text.intermediate_size
    queries, keys = text.num_heads * text.head_dim, text.num_kv_heads * text.head_dim
    yield "language_model.embed_tokens.weight", (text.vocab_size, size)
    for index in range(text.num_layers):
        layer = f"language_model.layers.{index}"
        attention = f"{layer}.self_attn"
        yield f"{layer}.input_layernorm.weight", (size,)
        yield from _linear(f"{attention}.q_proj", queries, size, text.qkv_bias)
        yield from _linear(f"{attention}.k_proj", keys, size, text.qkv_bias)
        yield from _linear(f"{attention}.v_proj", keys, size, text.qkv_bias)
        yield from _linear(f"{attention}.o_proj", size, queries, text.output_bias)
        if text.qk_norm:
            yield f"{attention}.q_norm.weight", (text.head_dim,)
            yield f"{attention}.k_norm.weight", (text.head_dim,)
        yield f"{layer}.post_attention_layernorm.weight", (size,)
        yield from _linear(f"{layer}.mlp.gate_proj", inner, size, text.mlp_bias)
        yield from _linear(f"{layer}.mlp.up_proj", inner, size, text.mlp_bias)
        yield from _linear(f"{layer}.mlp.down_proj", size, inner, text.mlp_bias)
    yield "language_model.norm.weight", (size,)
    if not text.tied:
        yield "lm_head.weight", (text.vocab_size, size)
