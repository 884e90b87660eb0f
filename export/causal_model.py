"""The language model of a LLaVA alone, as transformers' class of its kind."""

from typing import Any

import torch
import transformers


def causal_model(llava: Any) -> Any:
    """The model over the same weights, of which none is copied."""
    inner = llava.model.language_model
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(inner.config)
    model.model, model.lm_head = inner, llava.lm_head
    return model
