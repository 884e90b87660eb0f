"""Which tensors of which shape a LLaVA computes with, by its configuration."""

from llava_edge.export.layouts.llava_config import LlavaConfig
from llava_edge.export.layouts.text_config import TextConfig
from llava_edge.export.towers.vision_tower import Shapes, linear_shapes


def expected_shapes(config: LlavaConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor that is computed with, under its canonical name."""
    shapes = dict(_projector(config))
    shapes.update(config.tower.shapes(config.feature_layers))
    shapes.update(_language_model(config.text))
    if config.grid_pinpoints:
        shapes["image_newline"] = (config.text.hidden_size,)
    return shapes


def _projector(config: LlavaConfig) -> Shapes:
    inputs = config.tower.hidden_size * len(config.feature_layers)
    for number in range(1, config.projector_layers + 1):
        name, outputs = f"multi_modal_projector.linear_{number}", config.text.hidden_size
        yield from linear_shapes(name, outputs, inputs, config.projector_bias)
        inputs = outputs


def _language_model(text: TextConfig) -> Shapes:
    size, inner = text.hidden_size, text.intermediate_size
    queries, keys = text.num_heads * text.head_dim, text.num_kv_heads * text.head_dim
    yield "language_model.embed_tokens.weight", (text.vocab_size, size)
    for index in range(text.num_layers):
        layer = f"language_model.layers.{index}"
        attention = f"{layer}.self_attn"
        yield f"{layer}.input_layernorm.weight", (size,)
        yield from linear_shapes(f"{attention}.q_proj", queries, size, text.qkv_bias)
        yield from linear_shapes(f"{attention}.k_proj", keys, size, text.qkv_bias)
        yield from linear_shapes(f"{attention}.v_proj", keys, size, text.qkv_bias)
        yield from linear_shapes(f"{attention}.o_proj", size, queries, text.output_bias)
        if text.qk_norm:
            yield f"{attention}.q_norm.weight", (text.head_dim,)
            yield f"{attention}.k_norm.weight", (text.head_dim,)
        yield f"{layer}.post_attention_layernorm.weight", (size,)
        yield from linear_shapes(f"{layer}.mlp.gate_proj", inner, size, text.mlp_bias)
        yield from linear_shapes(f"{layer}.mlp.up_proj", inner, size, text.mlp_bias)
        yield from linear_shapes(f"{layer}.mlp.down_proj", size, inner, text.mlp_bias)
    yield "language_model.norm.weight", (size,)
    if not text.tied:
        yield "lm_head.weight", (text.vocab_size, size)
