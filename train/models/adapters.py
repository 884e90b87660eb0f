"""Low-rank adapters on a part of a model, by peft."""

import warnings

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from llava_edge.train.recipe import Lora


def attach(part: PreTrainedModel, lora: Lora) -> PeftModel:
    """Adapters (arXiv 2106.09685) on every linear layer of a part; all else in it is frozen."""
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
    )
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of peft's making
        return get_peft_model(part, config)


def merged(part: PeftModel) -> PreTrainedModel:
    """The part with its adapters in its weights; the products are computed in fp32."""
    whole: PreTrainedModel = part.float().merge_and_unload(safe_merge=False)
    return whole
