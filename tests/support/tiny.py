"""Tiny random checkpoints, written the way real ones are, whose dimensions all differ."""

import json
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_gguf import write_gguf
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    Dinov2Config,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
    SiglipVisionConfig,
    SmolLM3Config,
)

from llava_edge.train.models.efficientnet_lite_model import EfficientNetLiteModelConfig

VOCAB_SIZE = 293  # the tokenizer has fewer: real checkpoints pad their embedding tables too
SPECIAL_TOKENS = {
    "chatml": ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"),
    "v0": ("<unk>", "<s>", "</s>", "<image>"),
    "v1": ("<unk>", "<s>", "</s>", "<image>"),
    "vicuna_v1": ("<unk>", "<s>", "</s>", "<image>"),
    "llama_2": ("<unk>", "<s>", "</s>", "<image>"),
    "mistral": ("<unk>", "<s>", "</s>", "<image>"),
    "phi": ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>", "<image>"),
    "qwen": ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"),
    "llama_3": (
        "<|begin_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<image>",
        "<|eot_id|>",
    ),
}
SENTENCES = (
    "What is in the picture?",
    "There are 12 red apples and 7 cats on the table.",
    "Is there a dog?\nNo, there isn't a dog in the picture.",
    "Describe the picture: a cat sits on the red table, \u00e0 c\u00f4t\u00e9 d'une pomme.",
)
EFFICIENTNET_STAGES = [[3, 1, 1, 8, 1], [5, 2, 2, 12, 2], [3, 1, 3, 20, 1], [5, 2, 2, 28, 1]]


@dataclass(frozen=True)
class Tiny:
    """What a tiny checkpoint is like."""

    tower: Literal["clip", "siglip", "dinov2", "dinov2_swiglu", "efficientnet_lite"] = "clip"
    decoder: Literal["llama", "mistral", "qwen2", "qwen3", "smollm3"] = "llama"
    projector: Literal["mlp2x_gelu", "linear"] = "mlp2x_gelu"
    projector_bias: bool = True
    feature_layer: int | tuple[int, ...] = -2
    select: Literal["default", "full"] = "default"
    image_size: int = 33
    patch_size: int = 5
    vision_layers: int = 3
    text_layers: int = 2
    text_size: int = 96
    text_inner: int = 160
    head_dim: int = 32  # not text_size / heads
    tied: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    rope: tuple[tuple[str, Any], ...] = (("rope_type", "default"), ("rope_theta", 20000.0))
    no_rope_interval: int = 2
    window: int | None = None
    tiles: bool = False  # LLaVA-NeXT
    prompt: Literal["chatml", "vicuna_v1"] = "chatml"
    dtype: torch.dtype = torch.float32
    spelling: Literal["new", "vision_model", "in_memory"] = "new"
    max_shard_size: str = "1GB"
    seed: int = 0


class LinearProjector(nn.Module):
    """LLaVA v1's projector, which transformers does not have."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(inputs, outputs)

    def forward(self, image_features: Tensor) -> Tensor:
        rows: Tensor = self.linear_1(image_features)
        return rows


def tokenizer(prompt: str = "chatml") -> Tokenizer:
    """A byte-level BPE tokenizer that knows the prompt format's special tokens and `<image>`."""
    special = SPECIAL_TOKENS[prompt]
    result = Tokenizer(models.BPE())
    result.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    result.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - 6,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    result.train_from_iterator(SENTENCES, trainer)
    return result


def text_config(tiny: Tiny) -> Any:
    kind = {
        "llama": LlamaConfig,
        "mistral": MistralConfig,
        "qwen2": Qwen2Config,
        "qwen3": Qwen3Config,
        "smollm3": SmolLM3Config,
    }[tiny.decoder]
    extra: dict[str, Any] = {
        "llama": {"attention_bias": tiny.attention_bias, "mlp_bias": tiny.mlp_bias},
        "mistral": {"sliding_window": tiny.window},
        "qwen2": {
            "use_sliding_window": tiny.window is not None,
            "sliding_window": tiny.window,
            "max_window_layers": 1,
        },
        "qwen3": {},
        "smollm3": {"no_rope_layer_interval": tiny.no_rope_interval},
    }[tiny.decoder]
    if tiny.decoder != "qwen2":  # which has no such setting
        extra["head_dim"] = tiny.head_dim
    return kind(
        hidden_size=tiny.text_size,
        intermediate_size=tiny.text_inner,
        num_hidden_layers=tiny.text_layers,
        num_attention_heads=6,
        num_key_value_heads=2,
        vocab_size=VOCAB_SIZE,
        max_position_embeddings=256,
        rms_norm_eps=1e-5,
        rope_parameters=dict(tiny.rope),
        tie_word_embeddings=tiny.tied,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        **extra,
    )


def vision_config(tiny: Tiny) -> Any:
    if tiny.tower == "efficientnet_lite":
        return EfficientNetLiteModelConfig(
            image_size=56,
            stem_channels=10,
            stages=tuple(tuple(stage) for stage in EFFICIENTNET_STAGES),
            head_channels=36,
            fine_stage=2,
        )
    sizes = {
        "hidden_size": 40,
        "num_hidden_layers": tiny.vision_layers,
        "num_attention_heads": 5,
        "image_size": tiny.image_size,
        "patch_size": tiny.patch_size,
    }
    if tiny.tower.startswith("dinov2"):
        return Dinov2Config(**sizes, mlp_ratio=2, use_swiglu_ffn=tiny.tower == "dinov2_swiglu")
    if tiny.tower == "siglip":
        return SiglipVisionConfig(**sizes, intermediate_size=72)
    return CLIPVisionConfig(**sizes, intermediate_size=72, hidden_act="quick_gelu")


def llava_config(tiny: Tiny) -> Any:
    cnn = tiny.tower == "efficientnet_lite"
    layer = tiny.feature_layer if isinstance(tiny.feature_layer, int) else list(tiny.feature_layer)
    kind = LlavaNextConfig if tiny.tiles else LlavaConfig
    side = tiny.image_size
    pinpoints = {"image_grid_pinpoints": [[side, 2 * side], [2 * side, side], [2 * side, 2 * side]]}
    config = kind(
        vision_config=vision_config(tiny),
        text_config=text_config(tiny),
        image_token_index=3,
        vision_feature_layer=-1 if cnn else layer,
        vision_feature_select_strategy="full" if cnn else tiny.select,
        multimodal_projector_bias=tiny.projector_bias,
        tie_word_embeddings=tiny.tied,
        **(pinpoints if tiny.tiles else {}),
    )
    config.mm_projector_type = tiny.projector
    return config


def llava(tiny: Tiny) -> Any:
    """A random model whose activations are of ordinary size at every depth."""
    torch.manual_seed(tiny.seed)
    kind = LlavaNextForConditionalGeneration if tiny.tiles else LlavaForConditionalGeneration
    model = kind(llava_config(tiny)).eval()
    if tiny.projector == "linear":
        first = model.model.multi_modal_projector.linear_1
        projector = LinearProjector(first.in_features, first.out_features)
        model.model.multi_modal_projector = projector
    randomize(model)
    for parameter in model.parameters():  # not the rotary frequencies, which stay exact
        parameter.data = parameter.data.to(tiny.dtype)
    return model


def randomize(model: nn.Module) -> None:
    """Draw every parameter and statistic, so that none is at a value that hides an error."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not tensor.is_floating_point() or name.endswith("inv_freq"):
                continue
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.ndim > 1:
                tensor.normal_(std=1 / math.sqrt(tensor[0].numel()))
            elif name.endswith("weight"):
                tensor.normal_(mean=1, std=0.1)
            else:
                tensor.normal_(std=0.1)


def write_llava(folder: Path, tiny: Tiny = Tiny()) -> Any:
    """Write a Hugging Face LLaVA checkpoint and return the model that is in it."""
    model = llava(tiny)
    model.save_pretrained(folder, max_shard_size=tiny.max_shard_size)
    tokenizer(tiny.prompt).save(str(folder / "tokenizer.json"))
    if tiny.spelling != "new":
        _respell(folder, {"vision_model": _vision_model, "in_memory": _in_memory}[tiny.spelling])
    return model


def _vision_model(key: str) -> str:
    """As transformers up to 5.5 spells a CLIP tower."""
    return key.replace("vision_tower.", "vision_tower.vision_model.")


def _in_memory(key: str) -> str:
    """As `state_dict()` spells the tensors."""
    if key.startswith("language_model.lm_head."):
        return key.removeprefix("language_model.")
    return "model." + key.replace("language_model.model.", "language_model.")


def _respell(folder: Path, spell: Callable[[str], str]) -> None:
    for file in folder.glob("*.safetensors"):
        tensors = {spell(key): tensor for key, tensor in load_file(file).items()}
        save_file(tensors, file, metadata={"format": "pt"})
    index = folder / "model.safetensors.index.json"
    if index.exists():
        content = json.loads(index.read_text())
        content["weight_map"] = {spell(k): file for k, file in content["weight_map"].items()}
        index.write_text(json.dumps(content))


def write_demo(folder: Path, base: Path, tiny: Tiny) -> LlavaForConditionalGeneration:
    """Write a checkpoint of tower, projector, LoRA adapter and the name of its GGUF base.

    The base is written to `base`. Returns the model with the adapter merged.
    """
    model = llava(tiny)
    language_model = LlamaForCausalLM(text_config(tiny)).eval()
    randomize(language_model)
    write_gguf(base, language_model, tokenizer(tiny.prompt))
    lora = LoraConfig(r=4, lora_alpha=10, target_modules=["q_proj", "v_proj", "down_proj"])
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of peft's making
        peft_model = get_peft_model(language_model, lora)
    with torch.no_grad():
        for name, parameter in peft_model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.2)
    peft_model.save_pretrained(folder)

    parts = {
        key.removeprefix("model."): tensor.half().contiguous()
        for key, tensor in model.state_dict().items()
        if "vision_tower." in key or "multi_modal_projector." in key
    }
    save_file(parts, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.save_pretrained(folder)
    digest = sha256(base.read_bytes()).hexdigest()
    named = {"name": "tiny-base", "file": base.name, "sha256": digest}
    (folder / "base.json").write_text(json.dumps(named))

    merged = peft_model.merge_and_unload()
    model.load_state_dict({f"model.{key}": tensor.float() for key, tensor in parts.items()}, False)
    model.model.language_model.load_state_dict(merged.model.state_dict())
    model.lm_head.load_state_dict(merged.lm_head.state_dict())
    return model


# A model of each kind of decoder, and of each kind of vision tower.
DECODERS = {
    "grouped queries": Tiny(),
    "tied": Tiny(tied=True),
    "biases": Tiny(attention_bias=True, mlp_bias=True),
    "other rotary base": Tiny(rope=(("rope_type", "default"), ("rope_theta", 500.0))),
    "linear rope scaling": Tiny(
        rope=(("rope_type", "linear"), ("rope_theta", 500.0), ("factor", 3.0))
    ),
    "llama 3 rope scaling": Tiny(
        rope=(
            ("rope_type", "llama3"),
            ("rope_theta", 500.0),
            ("factor", 8.0),
            ("low_freq_factor", 1.0),
            ("high_freq_factor", 4.0),
            ("original_max_position_embeddings", 64),
        )
    ),
    "mistral": Tiny(decoder="mistral"),
    "mistral, windows": Tiny(decoder="mistral", window=7),
    "qwen2": Tiny(decoder="qwen2", tied=True),
    "qwen2, windows": Tiny(decoder="qwen2", window=5),
    "qwen3": Tiny(decoder="qwen3"),
    "smollm3": Tiny(decoder="smollm3", tied=True),
    "efficientnet": Tiny(tower="efficientnet_lite", projector="linear"),
    "vicuna, sharded": Tiny(prompt="vicuna_v1", max_shard_size="100KB", spelling="in_memory"),
}
EFFICIENTNET = Tiny(tower="efficientnet_lite")
TOWERS = {
    "clip": Tiny(),
    "one layer of many": Tiny(feature_layer=1, vision_layers=4),
    "the last layer": Tiny(feature_layer=-1),
    "several layers": Tiny(feature_layer=(-2, 1, 0, -1)),
    "class token kept": Tiny(select="full"),
    "no patch left over": Tiny(image_size=28, patch_size=7),
    "linear projector": Tiny(projector="linear"),
    "projector without biases": Tiny(projector_bias=False),
    "older spelling": Tiny(spelling="vision_model"),
    "spelling in memory": Tiny(spelling="in_memory"),
    "efficientnet": EFFICIENTNET,
    "siglip": Tiny(tower="siglip", select="full"),
    "siglip, its last layer": Tiny(tower="siglip", select="full", feature_layer=-1),
    "siglip, its first patch dropped": Tiny(tower="siglip"),
    "dinov2": Tiny(tower="dinov2", patch_size=5, image_size=35),
    "dinov2, swiglu": Tiny(tower="dinov2_swiglu", select="full", feature_layer=(-1, 1)),
}
