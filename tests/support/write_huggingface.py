"""Run with any transformers: writes tiny random LLaVAs and what they compute.

    python write_huggingface.py FOLDER [--pickled]

A folder for each kind, with expected.npz: pixels, image embeddings and logits for a prompt.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from transformers import (
    CLIPVisionConfig,
    Dinov2Config,
    LlamaConfig,
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

SIDE, PATCH, IMAGE = 30, 5, 3
BEFORE, AFTER = [7, 30, 31], [100, 9, 280, 77, 5]
TOWER = {
    "hidden_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 5,
    "image_size": SIDE,
    "patch_size": PATCH,
}
TEXT = {
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 293,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 20000.0,
    "pad_token_id": 0,
}
LLAMA_3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
CLIP = CLIPVisionConfig(**TOWER, intermediate_size=72)
SIGLIP = SiglipVisionConfig(**TOWER, intermediate_size=72)
DINOV2 = Dinov2Config(**TOWER, mlp_ratio=2, use_swiglu_ffn=True)
PINPOINTS = [[SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE]]


def kinds():
    """Name, configuration and how it is saved."""
    full = {"vision_feature_select_strategy": "full"}
    yield "clip-llama", CLIP, LlamaConfig(**TEXT), {}, {"max_shard_size": "200KB"}
    yield "clip-llama3", CLIP, LlamaConfig(**TEXT, rope_scaling=LLAMA_3), {}, {}
    yield "siglip-qwen2", SIGLIP, Qwen2Config(**TEXT), full, {}
    yield "siglip-qwen3", SIGLIP, Qwen3Config(**TEXT, head_dim=16), full, {}
    yield "dinov2-smollm3", DINOV2, SmolLM3Config(**TEXT), {}, {}
    yield "next-mistral", CLIP, MistralConfig(**TEXT), {"image_grid_pinpoints": PINPOINTS}, {}


def build(vision, text, options):
    tiles = "image_grid_pinpoints" in options
    config = (LlavaNextConfig if tiles else LlavaConfig)(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE,
        tie_word_embeddings=text.tie_word_embeddings,
        **options,
    )
    model = LlavaNextForConditionalGeneration if tiles else LlavaForConditionalGeneration
    return model(config).eval()


def randomize(model):
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)


def expect(model, folder):
    tiles = isinstance(model.config, LlavaNextConfig)
    pixels = torch.randn(1, 3, SIDE, SIDE)
    options = {}
    if tiles:
        pixels = torch.randn(1, 3, 3, SIDE, SIDE)
        options["image_sizes"] = torch.tensor([[50, 20]])
    with torch.no_grad():
        features = model.get_image_features(
            pixels,
            vision_feature_layer=model.config.vision_feature_layer,
            vision_feature_select_strategy=model.config.vision_feature_select_strategy,
            **options,
        )
        rows = getattr(features, "pooler_output", features)[0]
        ids = torch.tensor([[*BEFORE, *[IMAGE] * len(rows), *AFTER]])
        logits = model(input_ids=ids, pixel_values=pixels, **options).logits
    np.savez(
        folder / "expected.npz",
        pixels=pixels[0].numpy() if tiles else pixels.numpy(),
        image_embeds=rows.numpy(),
        logits=logits[0].numpy(),
    )


def write(folder, *, pickled=False):
    torch.manual_seed(0)
    for name, vision, text, options, saving in kinds():
        model = build(vision, text, options)
        randomize(model)
        model.save_pretrained(folder / name, **saving)
        expect(model, folder / name)
        if name == "clip-llama" and pickled:
            model.save_pretrained(
                folder / "pickled", safe_serialization=False, max_shard_size="200KB"
            )
            expect(model, folder / "pickled")


if __name__ == "__main__":
    write(Path(sys.argv[1]), pickled="--pickled" in sys.argv)
