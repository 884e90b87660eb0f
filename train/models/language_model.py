"""The language model: any causal one of transformers that fits into LLaVA's checkpoint.

That checkpoint holds a decoder and a head without a bias; the logits are their product.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    PreTrainedModel,
)

from llava_edge.core.extras import needed_by
from llava_edge.errors import TrainingError
from llava_edge.train.models.language_weights import LanguageWeights, weights_of_llava

PADDING = 64  # rows of a grown embedding table are a multiple of it
BLOCK = 64  # weights that share an NF4 scale


def load_language_model(
    source: Path | LanguageWeights, dtype: torch.dtype, quantize: Literal["nf4"] | None = None
) -> PreTrainedModel:
    """Load a causal language model, alone or out of a LLaVA.

    Raises TrainingError if transformers' LLaVA cannot hold it.

    "nf4" holds the decoder's linear layers in 4 bits with doubly quantized scales (QLoRA, arXiv
    2305.14314) and computes products in `dtype`; embeddings, norms and head are not quantized.
    Of a broken folder, transformers' own OSError or ValueError is raised.
    """
    options = {}
    if quantize:
        with needed_by('quantize = "nf4"', "train"):
            import bitsandbytes  # noqa: F401  (transformers' own refusal is a traceback)
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
        options["device_map"] = {"": "cpu"}  # Trainer moves the whole model
    weights = weights_of_llava(source, dtype) if isinstance(source, Path) else source
    if weights is None:
        name, kind, given = str(source), AutoModelForCausalLM, {}
    else:
        name, kind = weights.name, MODEL_FOR_CAUSAL_LM_MAPPING[type(weights.config)]
        given = {"config": weights.config, "state_dict": weights.state}
    model, report = kind.from_pretrained(
        None if weights else source, dtype=dtype, output_loading_info=True, **given, **options
    )
    if report["missing_keys"]:
        raise _refusal(name, f"lacks {sorted(report['missing_keys'])[0]}")
    if quantize:
        _settle_quantized(model, name)
    _check_head(model, name)
    return model


def check_quantizable(widths: Iterable[int], model: str | Path) -> None:
    """Raise TrainingError for a width of layers that bitsandbytes would read wrongly."""
    for width in widths:
        if width % BLOCK and not torch.cuda.is_available():
            raise TrainingError(
                f"The language model {model} has layers {width} wide, which is no multiple of "
                f"{BLOCK}, and bitsandbytes reads such layers wrongly on a CPU; train it without "
                "quantize, or on a GPU."
            )


def is_quantized(decoder: nn.Module) -> bool:
    """Whether a decoder was loaded with `quantize`."""
    return getattr(decoder, "is_loaded_in_4bit", False)


@torch.no_grad()
def grow_vocabulary(model: PreTrainedModel, size: int) -> None:
    """Give the model rows for at least `size` tokens; each new row is the mean of the old ones.

    The mean, unlike transformers' random rows, is the same whenever the base is read again.
    """
    old = model.get_input_embeddings().weight.shape[0]
    if size <= old:
        return
    model.resize_token_embeddings(size, pad_to_multiple_of=PADDING, mean_resizing=False)
    for part in (model.get_input_embeddings(), model.get_output_embeddings()):
        part.weight[old:] = part.weight[:old].float().mean(0).to(part.weight.dtype)


def untie(model: PreTrainedModel) -> None:
    """Give a tied head its own weights if LLaVA would not find the embeddings to tie it to."""
    head = model.get_output_embeddings()
    tied = head.weight is model.get_input_embeddings().weight
    if tied and not hasattr(model.base_model, "embed_tokens"):
        head.weight = nn.Parameter(head.weight.detach().clone())
        tied = False
    model.config.tie_word_embeddings = tied


def _settle_quantized(model: PreTrainedModel, name: str) -> None:
    from bitsandbytes.nn.modules import Linear4bit

    layers = [layer for layer in model.modules() if isinstance(layer, Linear4bit)]
    check_quantizable((layer.in_features for layer in layers), name)
    for layer in layers:
        # Its packed form for a CPU, taken at the first forward, would not survive a move to a GPU.
        layer.support_avx512bf16_for_cpu = False
    # The decoder stands alone from here on: peft asks it, and its config goes to checkpoints.
    model.base_model.is_loaded_in_4bit = True
    del model.config.quantization_config


@torch.no_grad()
def _check_head(model: PreTrainedModel, name: str) -> None:
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear):
        raise _refusal(name, "has no linear head")
    if head.bias is not None:
        raise _refusal(name, "has a head with a bias, which LLaVA's lacks")
    ids = torch.arange(3)[None]
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    logits = model(input_ids=ids, use_cache=False).logits
    if not torch.allclose(head(hidden).float(), logits.float(), rtol=1e-5, atol=1e-6):
        raise _refusal(name, "scales or caps its logits after the head, as LLaVA does not")


def _refusal(name: str, reason: str) -> TrainingError:
    return TrainingError(
        f"The language model {name} {reason}, so transformers' LLaVA cannot hold it; choose a "
        "causal language model such as Llama, Qwen, Mistral or Phi-3."
    )
