"""Which language models LLaVA can hold, how their vocabulary grows, and 4 bits under adapters."""

from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from tiny_learner import CLIP, TEXT, adapt, inputs, write_parts
from transformers import (
    BertConfig,
    Gemma2Config,
    LlamaConfig,
    LlavaForConditionalGeneration,
    PhiConfig,
)

from llava_edge.errors import TrainingError
from llava_edge.train.checkpoints.merge import merge
from llava_edge.train.checkpoints.save import save_adapter, save_checkpoint
from llava_edge.train.models.language_model import grow_vocabulary, load_language_model
from llava_edge.train.models.learner import build
from llava_edge.train.recipe import Recipe

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft's making


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return write_parts(tmp_path_factory.mktemp("parts"), CLIP, LlamaConfig(**TEXT))


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Of layers whose width NF4's blocks divide."""
    text = LlamaConfig(**{**TEXT, "hidden_size": 192, "intermediate_size": 256})
    return write_parts(tmp_path_factory.mktemp("wide"), CLIP, text)


@pytest.mark.parametrize(
    "text, reason",
    [
        (PhiConfig(**TEXT), "a head with a bias"),
        (Gemma2Config(**TEXT, head_dim=16, final_logit_softcapping=2.0), "caps its logits"),
    ],
)
def test_what_llava_cannot_hold_is_refused(text: Any, reason: str, tmp_path: Path) -> None:
    recipe = write_parts(tmp_path, CLIP, text)
    with pytest.raises(TrainingError, match=reason):
        build(recipe)


def test_a_vocabulary_grows_by_the_mean(recipe: Recipe) -> None:
    model = load_language_model(Path(recipe.language_model), torch.float32)
    old = model.get_output_embeddings().weight.detach().clone()
    grow_vocabulary(model, len(old))
    assert model.config.vocab_size == len(old)  # spare rows are used before there are new ones
    grow_vocabulary(model, len(old) + 1)
    new = model.get_output_embeddings().weight
    assert model.config.vocab_size == len(new) == 320
    assert torch.equal(new[: len(old)], old)
    torch.testing.assert_close(new[len(old) :], old.mean(0).expand(320 - len(old), -1))


def test_nf4_holds_the_decoder_and_lets_adapters_learn(wide: Recipe) -> None:
    exact, learner = build(wide), build(wide, "nf4")
    llava = learner.model
    first = llava.model.language_model.layers[0].self_attn.q_proj.weight
    assert first.dtype == torch.uint8 and first.quant_state.nested
    original = exact.model.model.language_model.layers[0].self_attn.q_proj.weight
    read = dequantize_4bit(first.data, first.quant_state)
    assert 0.99 < torch.cosine_similarity(read.flatten(), original.flatten(), dim=0) < 0.9999
    assert llava.lm_head.weight.dtype == llava.get_input_embeddings().weight.dtype == torch.float32
    llava.requires_grad_(False)
    adapt(learner)
    llava.model.multi_modal_projector.requires_grad_(True)
    batch = inputs(learner)
    before = {name: parameter.detach().clone() for name, parameter in llava.named_parameters()}
    optimizer = torch.optim.SGD([p for p in llava.parameters() if p.requires_grad], lr=0.1)
    llava(**batch, labels=batch["input_ids"]).loss.backward()
    optimizer.step()
    changed = {n for n, p in llava.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {n for n in before if "lora_" in n or "multi_modal_projector" in n}


def test_after_4_bits_checkpoints_hold_the_original_weights(wide: Recipe, tmp_path: Path) -> None:
    recipe = wide
    exact, learner = build(recipe), build(recipe, "nf4")
    save_checkpoint(learner, recipe, tmp_path / "stage1")
    saved = LlavaForConditionalGeneration.from_pretrained(tmp_path / "stage1")
    for name, tensor in exact.model.state_dict().items():
        assert torch.equal(saved.state_dict()[name], tensor), name
    for one in (exact, learner):
        adapt(one)
    save_adapter(learner, recipe, tmp_path / "adapter")
    merge(tmp_path / "adapter", tmp_path / "stage2")
    merged = LlavaForConditionalGeneration.from_pretrained(tmp_path / "stage2")
    assert not hasattr(merged.config.text_config, "quantization_config")
    whole = exact.model.model.language_model.merge_and_unload()
    for name, tensor in whole.state_dict().items():
        assert torch.equal(merged.model.language_model.state_dict()[name], tensor), name


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU reads any width")
def test_nf4_of_an_odd_width_is_refused_on_a_cpu(recipe: Recipe) -> None:
    with pytest.raises(TrainingError, match="96 wide"):
        build(recipe, "nf4")


def test_an_encoder_is_no_language_model(tmp_path: Path) -> None:
    from transformers import BertModel

    sizes = {key: TEXT[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    BertModel(BertConfig(**sizes, intermediate_size=64, vocab_size=99)).save_pretrained(tmp_path)
    with pytest.raises(TrainingError, match="cannot hold it"):
        load_language_model(tmp_path, torch.float32)
