"""A tiny LLaVA in each form that training continues, with the model that transformers has of it."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tiny import Tiny, llava, tokenizer, write_demo, write_llava
from tokenizers import Tokenizer
from torch import Tensor
from transformers import CLIPImageProcessor, LlamaForCausalLM

TEMPLATE = (  # ChatML, as a processor has it
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for part in m['content'] %}"
    "{{ '<image>\n' if part['type'] == 'image' else part['text'] }}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_PROJECTOR = {"linear_1": "model.mm_projector.0", "linear_2": "model.mm_projector.2"}


def write_huggingface(folder: Path) -> dict[str, Any]:
    """transformers' own folder, with a chat template; see `FORMS`."""
    (folder / "llava").mkdir(parents=True)
    model = write_llava(folder / "llava", Tiny(projector_bias=False))
    (folder / "llava" / "chat_template.jinja").write_text(TEMPLATE)
    return {"model": model, "checkpoint": "llava"}


def write_siglip(folder: Path) -> dict[str, Any]:
    """Shards in bf16, under the names in memory, whose tower loses its first patch; tied."""
    tiny = Tiny(
        tower="siglip",
        decoder="qwen2",
        spelling="in_memory",
        max_shard_size="100KB",
        tied=True,
        dtype=torch.bfloat16,
    )
    (folder / "llava").mkdir(parents=True)
    return {"model": write_llava(folder / "llava", tiny).float(), "checkpoint": "llava"}


def write_linear(folder: Path) -> dict[str, Any]:
    """A CNN and a linear projector, as our own training writes them."""
    (folder / "llava").mkdir(parents=True)
    tiny = Tiny(tower="efficientnet_lite", projector="linear")
    return {"model": write_llava(folder / "llava", tiny), "checkpoint": "llava"}


def write_original(folder: Path) -> dict[str, Any]:
    """The original's folder, pictures padded; its vocabulary has no image token."""
    model = llava(Tiny(prompt="vicuna_v1"))
    _write_tower(model, folder / "tower")
    tensors = {**_language_model(model), **_projector(model)}
    _write_config(folder / "llava", folder / "tower", model, image_aspect_ratio="pad")
    save_file(tensors, folder / "llava" / "model.safetensors", {"format": "pt"})
    _without_image_token().save(str(folder / "llava" / "tokenizer.json"))
    return {"model": model, "checkpoint": "llava"}


def write_original_lora(folder: Path) -> dict[str, Any]:
    """The original's adapter with its projector, on a language model that a recipe names."""
    model = llava(Tiny(prompt="vicuna_v1"))
    _write_tower(model, folder / "tower")
    causal = LlamaForCausalLM(model.config.text_config)
    causal.model.load_state_dict(model.model.language_model.state_dict())
    causal.lm_head.load_state_dict(model.lm_head.state_dict())
    causal.save_pretrained(folder / "vicuna")
    _without_image_token().save(str(folder / "vicuna" / "tokenizer.json"))
    merged = _write_adapter(causal, folder / "llava", r".*\.(q_proj|down_proj)")
    _write_config(folder / "llava", folder / "tower", model)
    torch.save(_projector(model), folder / "llava" / "non_lora_trainables.bin")
    model.model.language_model.load_state_dict(merged.model.state_dict())
    return {"model": model, "checkpoint": "llava", "base": "vicuna"}


def write_lora(folder: Path) -> dict[str, Any]:
    """peft's adapter on a whole LLaVA of transformers."""
    (folder / "base").mkdir(parents=True)
    model = write_llava(folder / "base", Tiny(tied=True))
    merged = _write_adapter(
        model,
        folder / "llava",
        r".*language_model.*\.(k_proj|up_proj)",
        modules_to_save=["multi_modal_projector"],
    )
    return {"model": merged, "checkpoint": "llava", "base": "base"}


def write_gguf_lora(folder: Path) -> dict[str, Any]:
    """Tower, projector and adapter on a GGUF file."""
    model = write_demo(folder / "llava", folder / "tiny.gguf", Tiny())
    return {"model": model, "checkpoint": "llava", "base": "tiny.gguf"}


# Each writes to an empty folder; returns the `model`, and what a recipe's `init` says.
FORMS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "transformers": write_huggingface,
    "siglip, tied, bf16": write_siglip,
    "efficientnet, linear": write_linear,
    "original": write_original,
    "original, adapter": write_original_lora,
    "adapter": write_lora,
    "adapter on GGUF": write_gguf_lora,
}


def _write_tower(model: Any, folder: Path) -> None:
    model.model.vision_tower.save_pretrained(folder)
    size = model.config.vision_config.image_size
    processor = CLIPImageProcessor(size={"shortest_edge": size}, crop_size=size)
    processor.save_pretrained(folder)


def _write_config(folder: Path, tower: Path, model: Any, **own: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.loads(model.config.text_config.to_json_string(use_diff=False))
    values = {
        **text,
        "model_type": "llava_llama",
        "architectures": ["LlavaLlamaForCausalLM"],
        "mm_vision_tower": str(tower),
        "mm_vision_select_layer": -2,
        "mm_projector_type": "mlp2x_gelu",
        **own,
    }
    (folder / "config.json").write_text(json.dumps(values))


def _language_model(model: Any) -> dict[str, Tensor]:
    tensors = model.state_dict()
    return {
        name.replace("model.language_model.", "model."): tensor.contiguous()
        for name, tensor in tensors.items()
        if name.startswith(("model.language_model.", "lm_head."))
    }


def _projector(model: Any) -> dict[str, Tensor]:
    tensors = model.model.multi_modal_projector.state_dict()
    return {
        f"{_PROJECTOR[name.split('.')[0]]}.{name.split('.')[1]}": tensor
        for name, tensor in tensors.items()
    }


def _write_adapter(model: Any, folder: Path, modules: str, **options: Any) -> Any:
    """An adapter of random values, written by peft; returns the model with it merged."""
    lora = LoraConfig(r=3, lora_alpha=7, target_modules=modules, **options)
    with warnings.catch_warnings(action="ignore"):  # of peft's making
        adapted = get_peft_model(model, lora)
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_" in name or "modules_to_save" in name:
                    parameter.normal_(std=0.2)
        adapted.save_pretrained(folder)
        return adapted.merge_and_unload()


def _without_image_token() -> Tokenizer:
    return Tokenizer.from_str(tokenizer("vicuna_v1").to_str().replace("<image>", "<unused>"))
