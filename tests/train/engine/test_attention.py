"""A packed row gives what its records give apart, for any language model that packs."""

from collections.abc import Callable
from itertools import accumulate

import pytest
import torch
from transformers import (
    BloomConfig,
    FalconConfig,
    Gemma2Config,
    GPTNeoXConfig,
    GptOssConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    Phi3Config,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from llava_edge.errors import TrainingError
from llava_edge.train.engine.attention import PACKED, pack_attention

SIZES = {
    "vocab_size": 53,
    "hidden_size": 24,
    "intermediate_size": 36,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = {**SIZES, "num_key_value_heads": 2}
CONFIGS: dict[str, Callable[[], PretrainedConfig]] = {
    "llama": lambda: LlamaConfig(**GROUPED),
    "qwen2": lambda: Qwen2Config(**GROUPED),
    "qwen3": lambda: Qwen3Config(**GROUPED, head_dim=8),
    "mistral, a window of 5": lambda: MistralConfig(**GROUPED, sliding_window=5),
    "phi3": lambda: Phi3Config(**GROUPED),
    "gpt_neox": lambda: GPTNeoXConfig(**SIZES),
}
UNFIT: dict[str, Callable[[], PretrainedConfig]] = {
    "gemma2, capped scores": lambda: Gemma2Config(**GROUPED, head_dim=8),
    "gpt_oss, sinks": lambda: GptOssConfig(**GROUPED, head_dim=8, num_local_experts=2),
    "bloom, ALiBi": lambda: BloomConfig(vocab_size=53, hidden_size=24, n_layer=2, n_head=4),
    "falcon": lambda: FalconConfig(**SIZES),
    "mamba, no attention": lambda: MambaConfig(vocab_size=53, hidden_size=24, num_hidden_layers=2),
}
LENGTHS = (7, 1, 12, 4)


def build(config: PretrainedConfig) -> torch.nn.Module:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


@pytest.mark.parametrize("name", CONFIGS)
def test_packed_records_are_the_records_apart(name: str) -> None:
    model = build(CONFIGS[name]())
    rows = [torch.randint(3, 53, (1, length)) for length in LENGTHS]
    apart = [model(row).logits for row in rows]
    model.set_attn_implementation(PACKED)
    packed = model(
        torch.cat(rows, dim=1),
        position_ids=torch.cat([torch.arange(length) for length in LENGTHS])[None],
        segments=[0, *accumulate(LENGTHS)],
        use_cache=False,
    ).logits
    torch.testing.assert_close(packed, torch.cat(apart, dim=1), atol=1e-5, rtol=1e-4)


def test_gradients_are_those_of_the_records_apart() -> None:
    gradients = []
    rows = [torch.randint(3, 53, (1, length)) for length in LENGTHS]
    for packed in (False, True):
        model = build(CONFIGS["llama"]())
        if packed:
            model.set_attn_implementation(PACKED)
            positions = torch.cat([torch.arange(length) for length in LENGTHS])[None]
            bounds = [0, *accumulate(LENGTHS)]
            logits = model(torch.cat(rows, 1), position_ids=positions, segments=bounds).logits
        else:
            logits = torch.cat([model(row).logits for row in rows], dim=1)
        logits.square().sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_packs_is_let_through(name: str) -> None:
    pack_attention(build(CONFIGS[name]()).base_model)


@pytest.mark.parametrize("name", UNFIT)
def test_a_model_whose_records_would_look_at_each_other_is_refused(name: str) -> None:
    decoder = build(UNFIT[name]()).base_model
    with pytest.raises(TrainingError, match="packing = false"):
        pack_attention(decoder)
