"""An original whose weights are quantized, as the library that owns their format reads it.

What judges a bundle must not be our own reading of the same file.
"""

import logging
from collections.abc import Mapping
from math import prod
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from llava_edge.core.strict import Section
from llava_edge.export.formats.gptq import read_gptq
from llava_edge.export.formats.weight_files import open_weights
from llava_edge.export.layouts.checkpoint import Checkpoint
from llava_edge.export.progress_bars import note

# What transformers is told by the name of a format: to dequantize, or which code to run.
_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "compressed-tensors": {"run_compressed": False},
    "fp8": {"dequantize": True},
    "gptq": {"backend": "torch"},  # others are compiled on first use
    "awq": {"backend": "torch_awq"},
}


def quantized_original(kind: Any, checkpoint: Checkpoint, dtype: torch.dtype) -> Any:
    """The model in plain numbers, opened by transformers with the owning library.

    None, and a note that says why, where they cannot open it here.
    """
    reason = "transformers does not open this checkpoint by itself"
    if checkpoint.loads_in_transformers:
        try:
            return _opened(kind, checkpoint, dtype)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # many kinds, as where a library is missing
            reason = " ".join(str(error).split()).removesuffix(".")
    note(
        f"The bundle is compared with our own reading of the {checkpoint.method} weights in "
        f"{checkpoint.folder}, not with that of the library they belong to: {reason}.",
        logging.WARNING,
    )
    return None


def _opened(kind: Any, checkpoint: Checkpoint, dtype: torch.dtype) -> Any:
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # which warns of kernels
    config = transformers.AutoConfig.from_pretrained(checkpoint.folder)
    settings = config.quantization_config
    owner = settings.get("quant_method")
    settings |= _SETTINGS.get(owner, {})
    if owner == "gptq":  # labels are known to be wrong, and the library goes by them
        packed = read_gptq(Section(settings, f"quantization_config of {checkpoint.folder}"))
        tensors = open_weights(checkpoint.folder)
        settings["checkpoint_format"] = packed.stored_format(tensors, checkpoint.folder)
    model, info = kind.from_pretrained(
        checkpoint.folder, config=config, dtype=dtype, output_loading_info=True
    )
    if info["missing_keys"]:
        raise ValueError(f"transformers finds no {min(info['missing_keys'])} in it")
    for name, module in list(model.named_modules()):
        weight = _dequantized(module)
        if weight is not None:
            model.set_submodule(name, _linear(weight.to(dtype), module.bias))
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def _dequantized(module: nn.Module) -> Tensor | None:
    """A layer's weight [N, K] by its library's own function, or None of plain layers."""
    if hasattr(module, "dequantize_weight"):  # GPTQModel's
        weight: Tensor = module.dequantize_weight()
        return weight.T.contiguous()
    kind = type(module).__name__
    if kind not in ("Linear4bit", "Linear8bitLt"):
        return None
    from bitsandbytes import functional

    packed: Any = module.weight
    if kind == "Linear8bitLt":
        weight = functional.int8_vectorwise_dequant(packed.data, packed.SCB)
        return weight
    # As one long row: where blocks reach over the end of a row, bitsandbytes 0.50 mixes up the
    # scales of a matrix on CPUs.
    state, shape = packed.quant_state, packed.quant_state.shape
    state.shape = (1, prod(shape))
    weight = functional.dequantize_4bit(packed.data, state).reshape(shape)
    return weight


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    rows, columns = weight.shape
    layer = nn.Linear(columns, rows, bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.data, requires_grad=False)
    return layer
