"""The arithmetic of memory against what torch, transformers and bitsandbytes really hold."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from allocations import AllocationPeak
from peft import LoraConfig, get_peft_model
from peft.helpers import disable_input_dtype_casting
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from llava_edge.data.records import RecordSource
from llava_edge.train.engine.run_stage import _set_checkpointing
from llava_edge.train.models.linear_cross_entropy import linear_cross_entropy
from llava_edge.train.models.tower_shape import TowerShape
from llava_edge.train.planning import memory_estimate
from llava_edge.train.planning.memory_estimate import Batch, DecoderShape, ModelShape
from llava_edge.train.planning.model_shape import decoder_shape, model_shape
from llava_edge.train.recipe import Lora, Recipe, Stage

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # of peft's and transformers' making
    pytest.mark.filterwarnings("ignore::UserWarning"),  # of bitsandbytes, which misses a GPU
]
DATA = (RecordSource((Path("records.json"),), Path()),)
SMALL = LlamaConfig(
    hidden_size=96,
    intermediate_size=272,
    num_hidden_layers=3,
    num_attention_heads=6,
    num_key_value_heads=2,
    vocab_size=301,
)
WIDE = LlamaConfig(
    hidden_size=64,
    intermediate_size=120,
    num_hidden_layers=2,
    num_attention_heads=4,
    head_dim=40,
    vocab_size=77,
)
STAGES = {
    "frozen": Stage(DATA, projector_lr=1.0),
    "lora": Stage(DATA, 1.0, 1.0, lora=Lora(rank=8, alpha=8)),
    "dropout": Stage(DATA, 1.0, 1.0, lora=Lora(rank=8, alpha=8, dropout=0.1)),
    "full": Stage(DATA, 1.0, 1.0),
    "checkpointed": Stage(DATA, 1.0, 1.0, gradient_checkpointing=True),
    "one of them": Stage(DATA, 1.0, 1.0, gradient_checkpointing=1),
}
LORA_MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def prepared(config: LlamaConfig, stage: Stage, dtype: torch.dtype) -> nn.Module:
    """The layers of a random model as the stage trains them: fp32 what learns, `dtype` the rest."""
    layers: Any = LlamaForCausalLM(config).model.to(dtype).requires_grad_(False)
    layers.set_attn_implementation("sdpa")
    if stage.lora:
        settings = LoraConfig(
            r=stage.lora.rank, lora_dropout=stage.lora.dropout, target_modules=LORA_MODULES
        )
        layers = get_peft_model(layers, settings)
        for parameter in layers.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    elif stage.language_model_lr:
        layers.float().requires_grad_(True)
    return layers.train()  # type: ignore[no-any-return]


def saved_bytes(layers: nn.Module, embeds: Tensor, dtype: torch.dtype) -> int:
    """What the backward pass keeps beside the parameters and their casts, each storage once."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in layers.parameters()}
    shapes = {tuple(p.shape) for p in layers.parameters() if p.ndim == 2}
    saved: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        cast = tuple(tensor.shape) in shapes or tuple(tensor.shape)[::-1] in shapes
        if not cast and tensor.untyped_storage().data_ptr() not in weights:
            saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    narrow = torch.autocast("cpu", dtype) if dtype != torch.float32 else nullcontext()
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, narrow, disable_input_dtype_casting(layers):
        layers(inputs_embeds=embeds, use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in saved.values())


@pytest.mark.parametrize("config", [SMALL, WIDE], ids=["small", "wide"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", ["frozen", "lora", "dropout", "full", "full, sharded"])
def test_activations_are_what_autograd_saves(
    config: LlamaConfig, dtype: torch.dtype, name: str
) -> None:
    """Of shards all that is gathered is in the precision of products, weights that learn too."""
    stage = STAGES[name.removesuffix(", sharded")]
    layers = prepared(config, stage, dtype)
    residual = torch.float32 if name == "full" else dtype
    if name == "full, sharded":
        layers.to(dtype)
    embeds = torch.randn(2, 51, config.hidden_size, dtype=residual).requires_grad_() * 1
    real = saved_bytes(layers, embeds, dtype)
    shape, width = decoder_shape(config), dtype.itemsize
    estimate = memory_estimate.decoder_activations(
        shape, stage, Batch(2, 51, 0), width, residual.itemsize
    )
    if name == "dropout":  # a GPU's masks are bytes, a CPU's are as wide as the values
        dropped = sum(columns for _, columns in shape.linears)
        estimate += 2 * 51 * dropped * (width - 1)
    assert estimate == pytest.approx(real, rel=0.1)


@pytest.mark.parametrize("config", [SMALL, WIDE], ids=["small", "wide"])
@pytest.mark.parametrize("name", ["checkpointed", "one of them"])
def test_checkpointed_layers_keep_their_inputs(config: LlamaConfig, name: str) -> None:
    stage = STAGES[name]
    layers: Any = prepared(config, stage, torch.float32)
    _set_checkpointing(layers, stage)
    embeds = torch.randn(2, 51, config.hidden_size).requires_grad_() * 1
    kept = saved_bytes(layers, embeds, torch.float32)
    estimate = memory_estimate.decoder_activations(
        decoder_shape(config), stage, Batch(2, 51, 0), 4, 4
    )
    assert estimate == pytest.approx(kept, rel=0.1)


def test_a_layer_computed_again_is_counted_where_no_other_has_its_insides() -> None:
    shape, batch = decoder_shape(SMALL), Batch(2, 51, 0)
    one = memory_estimate.again_bytes(shape, STAGES["checkpointed"], batch, 4, 4)
    kept = memory_estimate.decoder_activations(shape, STAGES["full"], batch, 4, 4)
    norm = 2 * 51 * (2 * SMALL.hidden_size + 1) * 4
    assert one == (kept - norm) // 3
    assert memory_estimate.again_bytes(shape, STAGES["one of them"], batch, 4, 4) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", ["frozen", "full"])
def test_the_heads_loss_takes_what_is_counted(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, width, vocabulary, at_once = 640, 24, 1001, 150
    learns = name == "full"
    hidden = torch.randn(rows, width, dtype=dtype, requires_grad=True)
    held = torch.float32 if learns else dtype
    weight = torch.randn(vocabulary, width, dtype=held, requires_grad=learns)
    targets = torch.zeros(rows, dtype=torch.long)
    narrow = torch.autocast("cpu", dtype) if dtype != torch.float32 else nullcontext()
    with AllocationPeak() as peak, narrow:
        linear_cross_entropy(hidden * 1, weight, targets, at_once * vocabulary * 4)
    decoder = DecoderShape(width, 1, 1, 8, 8, 8, vocabulary, None, 0, ())
    monkeypatch.setattr(memory_estimate, "rows_at_once", lambda _: at_once)
    counted = memory_estimate.head_bytes(
        decoder, STAGES[name], Batch(1, rows, rows), dtype.itemsize
    )
    cast = vocabulary * width * dtype.itemsize if held != dtype else 0  # counted with the others
    assert counted + cast == pytest.approx(peak.bytes, rel=0.1)


@pytest.mark.parametrize("name", ["full", "checkpointed", "one of them"])
def test_casts_are_those_of_layers_that_keep_them(name: str) -> None:
    shape = decoder_shape(SMALL)
    kept = {"full": 3, "checkpointed": 1, "one of them": 2}[name]
    layer = shape.in_layers // 3
    assert (
        memory_estimate.cast_bytes(model_of(shape), STAGES[name], 2)
        == (kept * layer + 301 * 96) * 2
    )
    assert memory_estimate.cast_bytes(model_of(shape), STAGES[name], 4) == 0


def test_weights_in_nf4_are_what_bitsandbytes_holds(tmp_path: Path) -> None:
    LlamaForCausalLM(SMALL).save_pretrained(tmp_path)
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
    )
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.bfloat16, quantization_config=nf4
    )
    held = 0
    for parameter in model.parameters():
        held += parameter.nbytes
        if state := getattr(parameter, "quant_state", None):
            inner = state.state2
            parts = (state.absmax, state.code, state.offset, inner.absmax, inner.code)
            held += sum(part.nbytes for part in parts)
    shape = model_of(decoder_shape(SMALL))
    stage = Stage(DATA, 1.0, quantize="nf4")
    assert memory_estimate.weight_bytes(shape, stage, 2) == held


def model_of(decoder: DecoderShape) -> ModelShape:
    """A model of nothing but a decoder."""
    return ModelShape(decoder, TowerShape(0, 0, 0, 0), 0, 1)


def test_eight_bit_states_are_what_bitsandbytes_holds() -> None:
    weight = nn.Parameter(torch.randn(96, 272))
    weight.grad = torch.randn_like(weight)
    optimizer = bitsandbytes.optim.AdamW8bit([weight])
    optimizer.step()
    state = optimizer.state[weight]
    held = sum(state[name].nbytes for name in ("state1", "state2", "absmax1", "absmax2"))
    stage = Stage(DATA, 1.0, optimizer="adamw_8bit")
    assert memory_estimate.optimizer_bytes(weight.numel(), stage) == held


@pytest.mark.parametrize("name", ["lora", "full"])
def test_what_learns_is_counted(name: str) -> None:
    stage = STAGES[name]
    model = LlamaForCausalLM(SMALL)
    if stage.lora:
        model.requires_grad_(False)
        get_peft_model(model, LoraConfig(r=stage.lora.rank, target_modules=LORA_MODULES))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert memory_estimate.trained_parameters(model_of(decoder_shape(SMALL)), stage) == trained


def test_the_shape_is_that_of_the_model_itself(tmp_path: Path) -> None:
    vision = CLIPVisionConfig(
        hidden_size=40,
        intermediate_size=56,
        num_hidden_layers=3,
        num_attention_heads=5,
        image_size=33,
        patch_size=5,
    )
    llava = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=SMALL))
    llava.model.vision_tower.save_pretrained(tmp_path / "tower")
    LlamaForCausalLM(SMALL).save_pretrained(tmp_path / "language_model")
    recipe = Recipe(
        Path("run"), str(tmp_path / "tower"), str(tmp_path / "language_model"), STAGES["frozen"]
    )
    shape = model_shape(recipe)
    assert shape.parameters == sum(p.numel() for p in llava.parameters())
    features = llava.get_image_features(torch.zeros(1, 3, 33, 33)).pooler_output[0]
    assert shape.tower.image_tokens == features.shape[0] == 36
    assert shape.tower.channels == 40


def test_sharding_divides_what_is_held() -> None:
    shape = model_of(decoder_shape(SMALL))
    whole = memory_estimate.estimate(shape, STAGES["full"], Batch(1, 9, 3))
    parts = memory_estimate.estimate(shape, STAGES["full"], Batch(1, 9, 3), devices=4, sharded=True)
    assert (parts.weights, parts.gradients) == (whole.weights // 4, whole.gradients // 4)
    assert parts.optimizer == whole.optimizer // 4
    assert parts.activations < whole.activations  # bf16 goes from layer to layer
    assert whole.casts > parts.casts == 0 < parts.exchange


def test_what_comes_in_turn_is_counted_once() -> None:
    shape = model_of(decoder_shape(SMALL))
    estimate = memory_estimate.estimate(shape, STAGES["checkpointed"], Batch(1, 9, 3))
    assert estimate.head > estimate.again > estimate.tower == 0
    assert estimate.total == sum(vars(estimate).values()) - estimate.again
