"""config.json is read strictly, with transformers' defaults for what it leaves out."""

import pytest
from transformers import CLIPVisionConfig, LlamaConfig

from llava_edge.errors import CheckpointError
from llava_edge.export.checkpoint_config import (
    ClipConfig,
    EfficientNetLiteConfig,
    LlavaConfig,
    TextConfig,
    read_llava_config,
    read_text_config,
)
from llava_edge.export.checkpoint_section import Section

MINIMAL: dict[str, object] = {"model_type": "llava", "vision_config": {}, "text_config": {}}
EFFICIENTNET: dict[str, object] = {
    "model_type": "efficientnet_lite",
    "image_size": 64,
    "stem_channels": 8,
    "stages": [[3, 1, 1, 8, 1], [5, 2, 6, 12, 2]],
    "head_channels": 30,
    "fine_stage": 0,
}
CNN = {"vision_feature_layer": -1, "vision_feature_select_strategy": "full"}


def llava(**changes: object) -> LlavaConfig:
    return read_llava_config(Section({**MINIMAL, **changes}, "config.json"))


def text(**changes: object) -> TextConfig:
    return read_text_config(Section(changes, "text_config"))


def test_defaults_are_those_of_transformers() -> None:
    config = llava()
    clip, llama = CLIPVisionConfig(), LlamaConfig()
    assert isinstance(config.tower, ClipConfig)
    assert config.tower.hidden_size == clip.hidden_size
    assert config.tower.num_layers == clip.num_hidden_layers
    assert config.tower.layer_norm_eps == clip.layer_norm_eps
    assert config.tower.hidden_act == clip.hidden_act
    assert config.text.intermediate_size == llama.intermediate_size
    assert config.text.vocab_size == llama.vocab_size
    assert config.text.rms_norm_eps == llama.rms_norm_eps
    assert config.text.context_length == llama.max_position_embeddings
    assert config.text.rope_theta == llama.rope_parameters["rope_theta"]
    assert config.text.num_kv_heads == llama.num_key_value_heads
    assert config.text.head_dim == llama.head_dim
    assert (config.feature_layers, config.keep_class_token) == ((-2,), False)
    assert (config.projector, config.projector_bias) == ("mlp2x_gelu", True)


def test_both_spellings_of_rope_theta() -> None:
    assert text(rope_theta=5e5).rope_theta == 5e5
    assert text(rope_parameters={"rope_type": "default", "rope_theta": 5e5}).rope_theta == 5e5
    assert text(rope_theta=5e5, rope_scaling=None).rope_theta == 5e5


def test_efficientnet_lite() -> None:
    config = llava(vision_config=EFFICIENTNET, **CNN)
    assert isinstance(config.tower, EfficientNetLiteConfig)
    assert config.tower.stages == ((3, 1, 1, 8, 1), (5, 2, 6, 12, 2))
    assert config.tower.hidden_size == 30 + 4 * 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "llava_next"}, '"llava_next" as model_type, but "llava" is'),
        ({"vision_config": None}, "no Hugging Face LLaVA"),
        ({"vision_config": {"model_type": "siglip_vision_model"}}, "siglip_vision_model"),
        ({"vision_config": {"hidden_size": 0}}, "positive whole number"),
        ({"vision_config": {"hidden_size": 40, "num_attention_heads": 3}}, "contradicts itself"),
        ({"vision_config": {**EFFICIENTNET, "fine_stage": 2}, **CNN}, "fine_stage"),
        ({"vision_config": {**EFFICIENTNET, "stages": [[3, 1]]}, **CNN}, "whole numbers"),
        ({"vision_config": EFFICIENTNET}, "neither layers"),
        ({"text_config": {"model_type": "qwen2"}}, '"qwen2" as model_type, but "llama" is'),
        ({"text_config": {"hidden_act": "gelu"}}, "hidden_act"),
        ({"text_config": {"sliding_window": 4096}}, "sliding_window"),
        ({"text_config": {"num_key_value_heads": 5}}, "multiple"),
        ({"text_config": {"rms_norm_eps": "small"}}, "positive number"),
        ({"text_config": {"mlp_bias": 1}}, "true or false"),
        ({"text_config": {"rope_scaling": {"type": "linear", "factor": 2}}}, '"linear" rope'),
        ({"text_config": {"rope_parameters": {"rope_type": "llama3"}}}, '"llama3" rope'),
        ({"text_config": {"partial_rotary_factor": 0.5}}, "partial rotary"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantized"),
        ({"projector_hidden_act": "relu"}, "projector_hidden_act"),
        ({"mm_projector_type": "mlp3x_gelu"}, "mm_projector_type"),
        ({"vision_feature_select_strategy": "cls"}, '"default" or "full"'),
        ({"vision_feature_layer": 13}, "13 hidden states"),
        ({"vision_feature_layer": [-2, "-3"]}, "list of whole numbers"),
    ],
)
def test_what_is_not_supported_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        llava(**changes)
