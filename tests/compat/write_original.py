"""Run with the original LLaVA's package: writes its kinds of checkpoints and what they compute.

    python write_original.py FOLDER

Each checkpoint's folder receives, for each of the folder's pictures, an .npz of its name: image
embeddings, and logits for a prompt.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from llava.mm_utils import process_anyres_image
from llava.model.language_model.llava_llama import LlavaConfig, LlavaLlamaForCausalLM
from llava.model.language_model.llava_mistral import (
    LlavaMistralConfig,
    LlavaMistralForCausalLM,
)
from llava.train.train import find_all_linear_names
from peft import LoraConfig, get_peft_model
from PIL import Image
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
)

SIDE, PATCH = 30, 5
SIZES = {
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 293,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
}
IMAGE = -200  # the original's place for a picture
PROMPT = [1, 7, 30, IMAGE, 100, 9, 280]
PINPOINTS = [[SIDE, 2 * SIDE], [3 * SIDE, SIDE], [2 * SIDE, 2 * SIDE]]  # (width, height)


def randomize(module):
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)


def write_tower(folder):
    config = CLIPVisionConfig(
        hidden_size=40,
        intermediate_size=72,
        num_hidden_layers=3,
        num_attention_heads=5,
        image_size=SIDE,
        patch_size=PATCH,
    )
    tower = CLIPVisionModel(config).eval()
    randomize(tower)
    tower.save_pretrained(folder, safe_serialization=False)  # as OpenAI's are
    CLIPImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    ).save_pretrained(folder)


def with_vision(model, tower, projector, merge="flat"):
    model.get_model().initialize_vision_modules(
        SimpleNamespace(
            vision_tower=str(tower),
            mm_vision_select_layer=-2,
            mm_vision_select_feature="patch",
            pretrain_mm_mlp_adapter=None,
            mm_patch_merge_type=merge,
            mm_projector_type=projector,
        )
    )
    randomize(model.get_model().mm_projector)
    model.config.mm_use_im_start_end = False
    model.config.mm_use_im_patch_token = False
    return model.eval()


def fresh(projector, tower, kind=LlavaLlamaForCausalLM, config=LlavaConfig, merge="flat"):
    model = kind(config(**SIZES)).eval()
    randomize(model)
    return with_vision(model, tower, projector, merge)


def projector_of(model):
    """What its training keeps of a frozen model."""
    return {k: v.detach() for k, v in model.named_parameters() if "mm_projector" in k}


def expect(model, folder):
    for path in folder.parent.glob("*.png"):
        picture = Image.open(path).convert("RGB")
        np.savez(folder / f"{path.stem}.npz", **asked(model, picture))


def asked(model, picture):
    processor = model.get_vision_tower().image_processor
    if getattr(model.config, "image_aspect_ratio", None) == "anyres":
        images = [process_anyres_image(picture, processor, model.config.image_grid_pinpoints)]
    else:
        images = processor(picture, return_tensors="pt")["pixel_values"]
    ids = torch.tensor([PROMPT])
    with torch.no_grad():
        prepared = model.prepare_inputs_labels_for_multimodal(
            ids, None, None, None, None, images, image_sizes=[picture.size]
        )
        rows = prepared[4]
        logits = model(inputs_embeds=rows).logits
    before = PROMPT.index(IMAGE)
    after = len(PROMPT) - before - 1
    image_embeds = rows[0, before : rows.shape[1] - after]
    return {"image_embeds": image_embeds.numpy(), "logits": logits[0].numpy()}


def main(folder):
    torch.manual_seed(0)
    tower = folder / "tower"
    write_tower(tower)

    for name, projector in (("linear", "linear"), ("mlp3", "mlp3x_gelu")):
        model = fresh(projector, tower)
        if name == "linear":  # the tower inside
            model.save_pretrained(folder / name, max_shard_size="200KB")
        else:  # by name alone, pickled
            rest = {k: v for k, v in model.state_dict().items() if "vision_tower" not in k}
            model.save_pretrained(
                folder / name, state_dict=rest, safe_serialization=False, max_shard_size="200KB"
            )
        expect(model, folder / name)

    model = fresh("mlp2x_gelu", tower, LlavaMistralForCausalLM, LlavaMistralConfig, "spatial_unpad")
    model.config.image_aspect_ratio = "anyres"
    model.config.image_grid_pinpoints = PINPOINTS
    model.save_pretrained(folder / "anyres")
    expect(model, folder / "anyres")

    base = LlamaForCausalLM(LlamaConfig(**SIZES)).eval()
    randomize(base)
    base.save_pretrained(folder / "vicuna")

    model = with_vision(
        LlavaLlamaForCausalLM.from_pretrained(folder / "vicuna"), tower, "mlp2x_gelu"
    )
    stage1 = folder / "stage1"
    model.config.save_pretrained(stage1)
    torch.save(projector_of(model), stage1 / "mm_projector.bin")
    expect(model, stage1)

    lora = LoraConfig(
        r=3, lora_alpha=7, target_modules=find_all_linear_names(model), task_type="CAUSAL_LM"
    )
    peft = get_peft_model(model, lora)
    randomize_lora(peft)
    folder_lora = folder / "lora"
    trained = {k: v for k, v in peft.named_parameters() if "lora_" in k}
    rest = projector_of(peft)
    model.config.save_pretrained(folder_lora)
    peft.save_pretrained(folder_lora, state_dict=trained)
    torch.save(rest, folder_lora / "non_lora_trainables.bin")
    expect(peft.merge_and_unload(), folder_lora)


def randomize_lora(peft):
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.2)


main(Path(sys.argv[1]))
