"""The one spelling of a checkpoint's tensors, and which tensors of which shape there must be."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from llava_edge.errors import CheckpointError
from llava_edge.export.checkpoint_config import (
    ClipConfig,
    EfficientNetLiteConfig,
    LlavaConfig,
    TextConfig,
)
from llava_edge.export.lazy_tensor import LazyTensor

Shapes = Iterator[tuple[str, tuple[int, ...]]]

_PREFIXES = (  # the first that fits is replaced
    ("model.language_model.", "language_model."),
    ("model.vision_tower.", "vision_tower."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("language_model.model.", "language_model."),
    ("language_model.lm_head.", "lm_head."),
    ("model.", "language_model."),  # a language model that stands alone
)
_UNUSED = re.compile(
    r".*\.(position_ids|num_batches_tracked|inv_freq)|vision_tower\.post_layernorm\..*"
)
_CLIP_LAYER = re.compile(r"vision_tower\.encoder\.layers\.(\d+)\..*")


def canonical(name: str) -> str:
    """Respell a tensor's name as LLaVA checkpoints, old and new, or a lone Llama give it.

    >>> canonical("model.vision_tower.vision_model.post_layernorm.bias")
    'vision_tower.post_layernorm.bias'
    """
    for prefix, replacement in _PREFIXES:
        if name.startswith(prefix):
            name = replacement + name.removeprefix(prefix)
            break
    return name.replace("vision_tower.vision_model.", "vision_tower.", 1)


def respell(tensors: Mapping[str, LazyTensor], folder: Path) -> dict[str, LazyTensor]:
    """Raises CheckpointError where two of a file's names mean the same tensor."""
    respelled: dict[str, LazyTensor] = {}
    for name, tensor in tensors.items():
        if canonical(name) in respelled:
            raise CheckpointError(
                f"{folder} holds {canonical(name)} twice, under two spellings; save the "
                "checkpoint anew."
            )
        respelled[canonical(name)] = tensor
    return respelled


def unused(name: str, config: LlavaConfig) -> bool:
    """Whether real checkpoints hold this tensor although nothing is computed from it."""
    layer = _CLIP_LAYER.fullmatch(name)
    if layer is not None and isinstance(config.tower, ClipConfig):
        return int(layer[1]) >= _clip_depth(config.tower, config)
    return _UNUSED.fullmatch(name) is not None


def expected_shapes(config: LlavaConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor that is computed with, under its canonical name."""
    shapes = dict(_projector(config))
    if isinstance(config.tower, ClipConfig):
        shapes.update(_clip(config.tower, _clip_depth(config.tower, config)))
    else:
        shapes.update(_efficientnet_lite(config.tower))
    shapes.update(_language_model(config.text))
    return shapes


def _clip_depth(tower: ClipConfig, config: LlavaConfig) -> int:
    """How many layers the last hidden state that is used has passed."""
    return max(layer % (tower.num_layers + 1) for layer in config.feature_layers)


def _linear(name: str, outputs: int, inputs: int, bias: bool = True) -> Shapes:
    yield f"{name}.weight", (outputs, inputs)
    if bias:
        yield f"{name}.bias", (outputs,)


def _norm(name: str, size: int) -> Shapes:
    yield f"{name}.weight", (size,)
    yield f"{name}.bias", (size,)


def _clip(tower: ClipConfig, depth: int) -> Shapes:
    size, patch = tower.hidden_size, tower.patch_size
    embeddings = "vision_tower.embeddings"
    yield f"{embeddings}.class_embedding", (size,)
    yield f"{embeddings}.patch_embedding.weight", (size, 3, patch, patch)
    positions = (tower.image_size // patch) ** 2 + 1
    yield f"{embeddings}.position_embedding.weight", (positions, size)
    yield from _norm("vision_tower.pre_layrnorm", size)
    for index in range(depth):
        layer = f"vision_tower.encoder.layers.{index}"
        yield from _norm(f"{layer}.layer_norm1", size)
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _linear(f"{layer}.self_attn.{part}", size, size)
        yield from _norm(f"{layer}.layer_norm2", size)
        yield from _linear(f"{layer}.mlp.fc1", tower.intermediate_size, size)
        yield from _linear(f"{layer}.mlp.fc2", size, tower.intermediate_size)


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
    outputs, bias = config.text.hidden_size, config.projector_bias
    yield from _linear("multi_modal_projector.linear_1", outputs, inputs, bias)
    if config.projector == "mlp2x_gelu":
        yield from _linear("multi_modal_projector.linear_2", outputs, outputs, bias)


def _language_model(text: TextConfig) -> Shapes:
    size, inner = text.hidden_size, text.intermediate_size
    queries, keys = text.num_heads * text.head_dim, text.num_kv_heads * text.head_dim
    yield "language_model.embed_tokens.weight", (text.vocab_size, size)
    for index in range(text.num_layers):
        layer = f"language_model.layers.{index}"
        yield f"{layer}.input_layernorm.weight", (size,)
        yield from _linear(f"{layer}.self_attn.q_proj", queries, size, text.attention_bias)
        yield from _linear(f"{layer}.self_attn.k_proj", keys, size, text.attention_bias)
        yield from _linear(f"{layer}.self_attn.v_proj", keys, size, text.attention_bias)
        yield from _linear(f"{layer}.self_attn.o_proj", size, queries, text.attention_bias)
        yield f"{layer}.post_attention_layernorm.weight", (size,)
        yield from _linear(f"{layer}.mlp.gate_proj", inner, size, text.mlp_bias)
        yield from _linear(f"{layer}.mlp.up_proj", inner, size, text.mlp_bias)
        yield from _linear(f"{layer}.mlp.down_proj", size, inner, text.mlp_bias)
    yield "language_model.norm.weight", (size,)
    if not text.tied:
        yield "lm_head.weight", (text.vocab_size, size)
