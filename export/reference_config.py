"""A checkpoint's configuration as transformers has it, for checkpoints that are not its own."""

from typing import Any

import transformers

from llava_edge.export.layouts.checkpoint import Checkpoint
from llava_edge.export.layouts.text_config import Rope, TextConfig
from llava_edge.export.towers.tower_config import (
    Dinov2Config,
    EfficientNetLiteConfig,
    TowerConfig,
)


def transformers_config(checkpoint: Checkpoint) -> Any:
    """A LlavaConfig or LlavaNextConfig of transformers."""
    config = checkpoint.config
    layers = config.feature_layers
    kind = transformers.LlavaNextConfig if config.grid_pinpoints else transformers.LlavaConfig
    tiles = {"image_grid_pinpoints": [list(pair) for pair in config.grid_pinpoints]}
    return kind(
        vision_config=_vision_config(config.tower),
        text_config=text_config(config.text),
        image_token_index=0,  # never used: pictures come as rows
        vision_feature_layer=layers[0] if len(layers) == 1 else list(layers),
        vision_feature_select_strategy="default" if config.drop_first_row else "full",
        multimodal_projector_bias=config.projector_bias,
        tie_word_embeddings=config.text.tied,
        **(tiles if config.grid_pinpoints else {}),
    )


def text_config(text: TextConfig) -> Any:
    """The configuration of transformers' class for this language model alone."""
    values: dict[str, Any] = {
        "hidden_size": text.hidden_size,
        "intermediate_size": text.intermediate_size,
        "num_hidden_layers": text.num_layers,
        "num_attention_heads": text.num_heads,
        "num_key_value_heads": text.num_kv_heads,
        "head_dim": text.head_dim,
        "vocab_size": text.vocab_size,
        "rms_norm_eps": text.rms_norm_eps,
        "max_position_embeddings": text.context_length,
        "rope_parameters": _rope(text.rope),
        "tie_word_embeddings": text.tied,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if text.model_type in ("llama", "qwen3", "smollm3"):
        values["attention_bias"] = text.output_bias
    if text.model_type in ("llama", "smollm3"):
        values["mlp_bias"] = text.mlp_bias
    if text.model_type == "smollm3":
        values["no_rope_layers"] = [int(rotary) for rotary in text.rotary_layers]
    if text.model_type != "llama":
        values |= _windows(text)
    return transformers.AutoConfig.for_model(text.model_type, **values)


def _windows(text: TextConfig) -> dict[str, Any]:
    window = max(text.windows) or None
    if text.model_type == "mistral":
        return {"sliding_window": window}
    kinds = ["sliding_attention" if size else "full_attention" for size in text.windows]
    return {
        "sliding_window": window,
        "use_sliding_window": window is not None,
        "layer_types": kinds,
    }


def _rope(rope: Rope) -> dict[str, Any]:
    values: dict[str, Any] = {"rope_type": rope.kind, "rope_theta": rope.theta}
    if rope.kind != "default":
        values["factor"] = rope.factor
    if rope.kind == "llama3":
        values |= {
            "low_freq_factor": rope.low_frequency,
            "high_freq_factor": rope.high_frequency,
            "original_max_position_embeddings": rope.original_length,
        }
    return values


def _vision_config(tower: TowerConfig) -> Any:
    if isinstance(tower, EfficientNetLiteConfig):
        from llava_edge.train.models import efficientnet_lite_model

        return efficientnet_lite_model.EfficientNetLiteModelConfig(
            image_size=tower.image_size,
            stem_channels=tower.stem_channels,
            stages=tower.stages,
            head_channels=tower.head_channels,
            fine_stage=tower.fine_stage,
        )
    values: dict[str, Any] = {
        "hidden_size": tower.hidden_size,
        "intermediate_size": tower.intermediate_size,
        "num_hidden_layers": tower.num_layers,
        "num_attention_heads": tower.num_heads,
        "image_size": tower.image_size,
        "patch_size": tower.patch_size,
        "layer_norm_eps": tower.layer_norm_eps,
        "hidden_act": tower.hidden_act,
    }
    if isinstance(tower, Dinov2Config):
        values |= {
            "image_size": tower.trained_size,
            "use_swiglu_ffn": tower.swiglu,
            "qkv_bias": tower.qkv_bias,
            "mlp_ratio": int(tower.mlp_ratio) if tower.mlp_ratio.is_integer() else tower.mlp_ratio,
        }
    return transformers.AutoConfig.for_model(tower.model_type, **values)
