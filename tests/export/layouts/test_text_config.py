"""A language model's configuration has the defaults of transformers' class of that kind."""

import pytest
from transformers import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config, SmolLM3Config

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.layouts.text_config import MODEL_TYPES, TextConfig, read_text_config

THEIRS = [LlamaConfig(), MistralConfig(), Qwen2Config(), Qwen3Config(), SmolLM3Config()]


def text(**changes: object) -> TextConfig:
    return read_text_config(Section(changes, "text_config"))


@pytest.mark.parametrize("theirs", THEIRS, ids=lambda config: config.model_type)
def test_defaults_are_those_of_transformers(theirs: LlamaConfig) -> None:
    ours = text(model_type=theirs.model_type)
    assert ours.model_type == theirs.model_type
    assert ours.hidden_size == theirs.hidden_size
    assert ours.intermediate_size == theirs.intermediate_size
    assert ours.num_layers == theirs.num_hidden_layers
    assert ours.num_heads == theirs.num_attention_heads
    assert ours.num_kv_heads == theirs.num_key_value_heads
    usual = theirs.hidden_size // theirs.num_attention_heads
    assert ours.head_dim == (getattr(theirs, "head_dim", None) or usual)
    assert ours.vocab_size == theirs.vocab_size
    assert ours.rms_norm_eps == theirs.rms_norm_eps
    assert ours.context_length == theirs.max_position_embeddings
    assert ours.rope.theta == theirs.rope_parameters["rope_theta"]
    assert ours.tied == theirs.tie_word_embeddings
    assert set(ours.windows) == {getattr(theirs, "sliding_window", None) or 0}
    no_rope = getattr(theirs, "no_rope_layers", None) or [1] * theirs.num_hidden_layers
    assert list(ours.rotary_layers) == [flag == 1 for flag in no_rope]


def test_every_kind_is_compared() -> None:
    assert {config.model_type for config in THEIRS} == set(MODEL_TYPES)


def test_both_spellings_of_rope_theta() -> None:
    assert text(rope_theta=5e5).rope.theta == 5e5
    assert text(rope_parameters={"rope_type": "default", "rope_theta": 5e5}).rope.theta == 5e5
    assert text(rope_theta=5e5, rope_scaling=None).rope.theta == 5e5
    scaled = text(rope_theta=5e5, rope_scaling={"type": "linear", "factor": 2.0}).rope
    assert (scaled.theta, scaled.kind, scaled.factor) == (5e5, "linear", 2.0)


def test_biases() -> None:
    llama = text(attention_bias=True, mlp_bias=True)
    assert (llama.qkv_bias, llama.output_bias, llama.mlp_bias) == (True, True, True)
    qwen = text(model_type="qwen2")
    assert (qwen.qkv_bias, qwen.output_bias, qwen.mlp_bias) == (True, False, False)


def test_windows() -> None:
    assert text(model_type="mistral", num_hidden_layers=2).windows == (4096, 4096)
    assert text(model_type="mistral", sliding_window=None, num_hidden_layers=2).windows == (0, 0)
    qwen = {"model_type": "qwen2", "num_hidden_layers": 3, "sliding_window": 9}
    assert text(**qwen).windows == (0, 0, 0)
    assert text(**qwen, use_sliding_window=True, max_window_layers=1).windows == (0, 9, 9)
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    assert text(**qwen, use_sliding_window=True, layer_types=kinds).windows == (9, 0, 9)


def test_smollm3_names_the_layers_without_rotation() -> None:
    listed = text(model_type="smollm3", num_hidden_layers=3, no_rope_layers=[0, 1, 1])
    assert listed.rotary_layers == (False, True, True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gemma"}, '"gemma" as model_type'),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"num_key_value_heads": 5}, "multiple"),
        ({"rms_norm_eps": "small"}, "positive number"),
        ({"mlp_bias": 1}, "true or false"),
        ({"rope_scaling": {"type": "yarn", "factor": 2}}, "yarn rotary embeddings"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "nothing as factor"),
        ({"partial_rotary_factor": 0.5}, "partial rotary"),
        ({"model_type": "qwen2", "use_sliding_window": True, "layer_types": ["x"]}, "layer_types"),
    ],
)
def test_what_is_not_supported_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        text(**changes)
