"""Tiny recipes for any tower and language model, built but not trained."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tiny import VOCAB_SIZE, randomize, tokenizer
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM, CLIPVisionConfig

from llava_edge.data.records import RecordSource
from llava_edge.train.models.learner import Learner
from llava_edge.train.recipe import Recipe, Stage

TEXT = {
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": VOCAB_SIZE,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
TOWER = {
    "hidden_size": 40,
    "intermediate_size": 72,
    "num_hidden_layers": 3,
    "num_attention_heads": 5,
    "image_size": 30,
    "patch_size": 5,
}
CLIP = CLIPVisionConfig(**TOWER)


def write_parts(folder: Path, vision: Any, text: Any, **changes: Any) -> Recipe:
    """Write a random tower and language model of these configs, and name them in a recipe."""
    torch.manual_seed(0)
    tower = AutoModel.from_config(vision)
    language_model = AutoModelForCausalLM.from_config(text)
    for model, name in ((tower, "tower"), (language_model, "language_model")):
        randomize(model)
        model.save_pretrained(folder / name)
    tokenizer().save(str(folder / "language_model" / "tokenizer.json"))
    recipe = Recipe(
        out=folder / "run",
        vision_tower=str(folder / "tower"),
        language_model=str(folder / "language_model"),
        stage1=Stage((RecordSource((folder / "records.json",), folder),), projector_lr=1e-3),
        prompt="chatml",
        precision="fp32",
    )
    return replace(recipe, **changes)


def adapt(learner: Learner) -> None:
    """Attach LoRA adapters to the decoder, with random values that fp16 holds exactly."""
    decoder = learner.model.model.language_model
    lora = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear")
    learner.model.model.language_model = adapted = get_peft_model(decoder, lora)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_(parameter.normal_(std=0.2).half())


def inputs(learner: Learner) -> dict[str, Tensor]:
    """A prompt with a picture in it."""
    encoding = learner.encoding
    torch.manual_seed(2)
    size = encoding.image.size
    ids = [7, 30, *[encoding.image_token_id] * encoding.image_tokens, 100, 9, 280, 77]
    return {
        "input_ids": torch.tensor([ids]),
        "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
        "pixel_values": torch.randn(1, 3, size, size),
    }
