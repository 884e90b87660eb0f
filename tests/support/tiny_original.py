"""A tiny LLaVA laid out as the original repository does, from the parts of one of transformers."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from tiny import Tiny, tokenizer, write_llava
from torch import Tensor

TOWER = "model.vision_tower.vision_tower.vision_model."  # as the original spells its tensors
PLAIN = Tiny()


def write_parts(folder: Path, tiny: Tiny = PLAIN) -> Any:
    """Write a tower into `folder`/tower, a LLaVA into `folder`/hf and return the LLaVA."""
    (folder / "hf").mkdir(parents=True)
    model = write_llava(folder / "hf", tiny)
    model.model.vision_tower.save_pretrained(folder / "tower")
    return model


def original_config(folder: Path, **changes: object) -> dict[str, object]:
    """What the original's config.json says of the LLaVA in `folder`/hf."""
    config = json.loads((folder / "hf" / "config.json").read_text())
    return {
        **config["text_config"],
        "model_type": "llava_llama",
        "architectures": ["LlavaLlamaForCausalLM"],
        "mm_vision_tower": str(folder / "tower"),
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": config["vision_feature_layer"],
        **changes,
    }


def language_tensors(model: Any) -> dict[str, Tensor]:
    """As a language model that stands alone spells them."""
    language = model.model.language_model.state_dict()
    return {f"model.{name}": tensor for name, tensor in language.items()} | {
        "lm_head.weight": model.lm_head.weight.data.clone()
    }


def projector_tensors(model: Any) -> dict[str, Tensor]:
    """As the original spells them."""
    places = {"linear_1": "0", "linear_2": "2"}
    return {
        f"model.mm_projector.{places[name.partition('.')[0]]}.{name.partition('.')[2]}": tensor
        for name, tensor in model.model.multi_modal_projector.state_dict().items()
    }


def write_original(
    folder: Path, model: Any, more: dict[str, Tensor] | None = None, **changes: object
) -> Path:
    """Write `folder`/original, whole but for its tower, with `more` tensors."""
    out = folder / "original"
    out.mkdir()
    tensors = language_tensors(model) | projector_tensors(model) | (more or {})
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    (out / "config.json").write_text(json.dumps(original_config(folder, **changes)))
    tokenizer().save(str(out / "tokenizer.json"))
    return out
