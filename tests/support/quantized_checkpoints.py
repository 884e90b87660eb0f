"""Tiny LLaVAs whose weights are quantized, written by the libraries that own the formats."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import (
    QuantizationArgs,
    QuantizationConfig,
    QuantizationScheme,
    apply_quantization_config,
)
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import load_file, save_file
from tiny import Tiny, write_llava
from torch import Tensor
from transformers import BitsAndBytesConfig, FineGrainedFP8Config, LlavaForConditionalGeneration
from transformers.integrations.finegrained_fp8 import Fp8Quantize

from llava_edge.export.quantization.blocks import Blocks, dequantize, middle
from llava_edge.export.quantization.blocks import unpack as unpack_bits
from llava_edge.export.quantization.quantize import quantize

LLAMA = Tiny()
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False}
LANGUAGE_MODEL_ALONE = ["lm_head", "re:.*vision_tower.*", "re:.*multi_modal_projector.*"]


def pack(blocks: Blocks, less: int = 1) -> dict[str, Tensor]:
    """As GPTQ checkpoints hold them; compat/test_packers.py says that this is their format.

    Zero points are stored less `less`.
    """
    integers = unpack_bits(blocks.data, blocks.bits).reshape(blocks.rows, -1)[:, : blocks.columns]
    count = blocks.scales.shape[1]
    zeros = np.full(blocks.scales.shape, middle(blocks.bits), np.uint8)
    if blocks.zero_points is not None:
        zeros = unpack_bits(blocks.zero_points, blocks.bits)[:, :count]
    stored = (zeros - np.uint8(less)) & np.uint8(2**blocks.bits - 1)
    return {
        "qweight": torch.tensor(packed_integers(integers.T, 0, blocks.bits)),
        "qzeros": torch.tensor(packed_integers(stored.T, 1, blocks.bits)),
        "scales": torch.tensor(np.ascontiguousarray(blocks.scales.T)),
        "g_idx": torch.arange(blocks.columns, dtype=torch.int32) // blocks.block_size,
    }


def packed_integers(values: np.ndarray[Any, Any], axis: int, bits: int) -> np.ndarray[Any, Any]:
    each = 32 // bits
    moved = np.moveaxis(values.astype(np.uint32), axis, -1)
    groups = moved.reshape(*moved.shape[:-1], -1, each) << (bits * np.arange(each, dtype=np.uint32))
    joined = np.bitwise_or.reduce(groups, axis=-1).view(np.int32)
    return np.ascontiguousarray(np.moveaxis(joined, -1, axis))


def write_gptq(
    folder: Path,
    tiny: Tiny = LLAMA,
    *,
    block_size: int = 32,
    less: int = 1,
    symmetric: bool = False,
    **config: object,
) -> Any:
    """A LLaVA whose language model's layers are packed; returns the model that it stands for."""
    model = write_llava(folder, tiny)
    path = folder / "model.safetensors"
    tensors, state = load_file(path), model.state_dict()
    for name in [name for name in tensors if name.endswith("_proj.weight") and "layers" in name]:
        if "language_model" not in name:
            continue
        blocks = quantize(tensors.pop(name).numpy(), 4, block_size, symmetric=symmetric)
        stem = name.removesuffix(".weight")
        tensors |= {f"{stem}.{part}": tensor for part, tensor in pack(blocks, less).items()}
        kept = name.replace("language_model.model.", "model.language_model.")
        state[kept].copy_(torch.tensor(dequantize(blocks)))
    save_file(tensors, path, {"format": "pt"})
    describe(folder, {**GPTQ, "group_size": block_size, **config})
    return model


def write_awq(folder: Path, tiny: Tiny = LLAMA, group: int = 32) -> None:
    """A LLaVA whose language model's layers are packed as AutoAWQ does."""
    write_llava(folder, tiny)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name in [name for name in tensors if "language_model" in name and "_proj.weight" in name]:
        blocks = quantize(tensors.pop(name).numpy(), 4, group)
        integers = unpack_bits(blocks.data, 4).reshape(blocks.rows, -1)[:, : blocks.columns]
        assert blocks.zero_points is not None
        zeros = unpack_bits(blocks.zero_points, 4)[:, : blocks.scales.shape[1]]
        stem = name.removesuffix(".weight")
        tensors[f"{stem}.qweight"] = _awq_packed(integers.T)
        tensors[f"{stem}.qzeros"] = _awq_packed(zeros.T)
        tensors[f"{stem}.scales"] = torch.tensor(np.ascontiguousarray(blocks.scales.T))
    save_file(tensors, path, {"format": "pt"})
    kept = ["model.vision_tower", "model.multi_modal_projector", "lm_head"]
    config = {"quant_method": "awq", "bits": 4, "group_size": group, "version": "gemm"}
    describe(folder, {**config, "zero_point": True, "modules_to_not_convert": kept})


def _awq_packed(values: np.ndarray[Any, Any]) -> Tensor:
    mixed = values.reshape(len(values), -1, 8)[..., [0, 2, 4, 6, 1, 3, 5, 7]]
    return torch.tensor(packed_integers(mixed.reshape(values.shape), 1, 4))


def describe(folder: Path, config: dict[str, Any]) -> None:
    """Put a quantization_config into config.json."""
    content = json.loads((folder / "config.json").read_text())
    content["quantization_config"] = config
    (folder / "config.json").write_text(json.dumps(content))


def write_bitsandbytes(source: Path, folder: Path, **options: Any) -> None:
    """The LLaVA in `source`, as bitsandbytes quantizes it: its tower and projector too."""
    config = BitsAndBytesConfig(**options)
    model = LlavaForConditionalGeneration.from_pretrained(
        source, quantization_config=config, dtype=torch.bfloat16, device_map={"": "cpu"}
    )
    _save(model, source, folder)


def write_compressed(
    source: Path, folder: Path, form: str, *, activations: int = 16, **weights: Any
) -> None:
    """The LLaVA in `source` with its language model's layers compressed in a form."""
    model = LlavaForConditionalGeneration.from_pretrained(source, dtype=torch.bfloat16)
    arguments = QuantizationArgs(**weights)
    inputs = QuantizationArgs(num_bits=activations, type=arguments.type, dynamic=True)
    scheme = QuantizationScheme(
        targets=["Linear"],
        weights=arguments,
        input_activations=inputs if activations < 16 else None,
    )
    config = QuantizationConfig(
        config_groups={"group_0": scheme},
        ignore=LANGUAGE_MODEL_ALONE,
        format=form,
        quantization_status="frozen",
    )
    apply_quantization_config(model, config, show_progress=False)
    for layer in (m for m in model.modules() if hasattr(m, "quantization_scheme")):
        scales, zeros = calculate_qparams(*_ranges(layer.weight.data, arguments), arguments)
        layer.weight_scale.data = scales.reshape(layer.weight_scale.shape).bfloat16()
        if getattr(layer, "weight_zero_point", None) is not None:
            shape = layer.weight_zero_point.shape
            layer.weight_zero_point.data = zeros.reshape(shape).to(layer.weight_zero_point.dtype)
    compressor = ModelCompressor.from_pretrained_model(model, quantization_format=form)
    compressor.compress_model(model)
    _save(model, source, folder)
    compressor.update_config(str(folder))


def write_fp8(source: Path, folder: Path, rows: int, columns: int) -> None:
    """The LLaVA in `source` with the language model's layers as transformers' 8-bit floats."""
    config = FineGrainedFP8Config(weight_block_size=(rows, columns))
    quantizer = Fp8Quantize(type("Quantizer", (), {"quantization_config": config}))
    shutil.copytree(source, folder)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name in [name for name in tensors if "language_model" in name and "_proj" in name]:
        tensors |= quantizer.convert({name: tensors[name]})
    save_file(tensors, path, {"format": "pt"})
    kept = ["vision_tower", "multi_modal_projector", "lm_head"]
    describe(folder, {**config.to_dict(), "modules_to_not_convert": kept})


def _save(model: Any, source: Path, folder: Path) -> None:
    model.save_pretrained(folder)
    shutil.copy(source / "tokenizer.json", folder)


def _ranges(weight: Tensor, arguments: QuantizationArgs) -> tuple[Tensor, Tensor]:
    """The lowest and the highest weight of what shares a scale, as an observer finds them."""
    rows, columns = weight.shape
    split: dict[str, Callable[[], Tensor]] = {
        "tensor": lambda: weight.reshape(1, -1),
        "channel": lambda: weight.unsqueeze(1),
        "group": lambda: weight.reshape(rows, -1, arguments.group_size or columns),
        "block": lambda: _squares(weight, *(arguments.block_structure or [rows, columns])),
    }
    parts = split[str(arguments.strategy)]().float()
    return parts.amin(-1), parts.amax(-1)


def _squares(weight: Tensor, rows: int, columns: int) -> Tensor:
    """[n, g, rows * columns]; zeros fill the last squares."""
    missing = (0, -weight.shape[1] % columns, 0, -weight.shape[0] % rows)
    padded = torch.nn.functional.pad(weight, missing)
    cut = padded.unflatten(0, (-1, rows)).unflatten(2, (-1, columns))  # [n, rows, g, columns]
    return cut.transpose(1, 2).flatten(2)
