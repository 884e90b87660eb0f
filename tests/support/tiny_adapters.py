"""Adapters over tiny LLaVAs, made, changed and saved by peft."""

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from tiny import Tiny, write_llava
from transformers import LlavaForConditionalGeneration

LANGUAGE = r".*language_model.*\.(q_proj|down_proj)"
PLAIN = Tiny()
IDS = (7, 3, 31, 100, 5, 280)  # 3 and 5 are those whose rows are trained


def write_adapter(
    folder: Path,
    base: Path,
    *,
    tiny: Tiny = PLAIN,
    rows: int | None = None,
    save: Callable[[Any], dict[str, Any]] | None = None,
    **settings: Any,
) -> Any:
    """Write a base and an adapter over it, and return peft's model, as after a training.

    `rows`: the vocabulary is resized first. `save` is called before the training and returns
    further arguments of `save_pretrained`.
    """
    base.mkdir(parents=True)
    write_llava(base, tiny)
    with warnings.catch_warnings(action="ignore"):  # of peft's, about tied tables above all
        model = LlavaForConditionalGeneration.from_pretrained(base)
        if rows is not None:
            model.resize_token_embeddings(rows, mean_resizing=False)
        config = LoraConfig(**{"r": 4, "lora_alpha": 10, "target_modules": LANGUAGE, **settings})
        adapted = get_peft_model(model, config).eval()
        options = save(adapted) if save else {}
        learn(adapted)
        adapted.save_pretrained(folder, **options)
    return adapted


def learn(model: Any) -> None:
    """Change what an adapter trains, a little."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)


def logits(model: Any, ids: Sequence[int] = IDS) -> np.ndarray[Any, Any]:
    """What the model computes after each of the ids."""
    with torch.no_grad():
        result: np.ndarray[Any, Any] = model(input_ids=torch.tensor([list(ids)])).logits[0].numpy()
    return result


def edit_adapter(folder: Path, **changes: object) -> None:
    """Change what adapter_config.json says."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
