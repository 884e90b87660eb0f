"""Run with GPTQModel: what a checkpoint's quantized layers are, as transformers opens them with it.

python dequantize_with_gptqmodel.py CHECKPOINT FILE.npz
"""

import sys

import numpy as np
import torch
from transformers import AutoConfig, LlavaForConditionalGeneration


def weight(layer):
    """A layer's [N, K] matrix, by its own function or by what it makes of unit vectors."""
    if hasattr(layer, "dequantize_weight"):
        return layer.dequantize_weight().T
    return layer(torch.eye(layer.in_features, dtype=torch.float16)).T


def main(folder, path):
    config = AutoConfig.from_pretrained(folder)
    awq = config.quantization_config["quant_method"] == "awq"
    config.quantization_config["backend"] = "torch_awq" if awq else "torch"
    model = LlavaForConditionalGeneration.from_pretrained(
        folder, config=config, dtype=torch.float16
    )
    layers = {
        name: weight(module).detach().float().numpy()
        for name, module in model.named_modules()
        if hasattr(module, "qweight")
    }
    np.savez(path, **layers)


main(*sys.argv[1:])
