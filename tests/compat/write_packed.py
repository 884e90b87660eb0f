"""Run with AutoGPTQ's and AutoAWQ's packages: packs linear layers and writes what they compute.

    python write_packed.py FOLDER

Only the modules that pack are imported: the packages around them want CUDA and long gone releases.
"""

import importlib.machinery
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import torch
from torch import nn

OUTPUTS, INPUTS, ROWS = 64, 128, 5


def without_init(name):
    """Make a package's modules importable without running its __init__."""
    found = importlib.machinery.PathFinder.find_spec(name)
    module = types.ModuleType(name)
    module.__path__ = list(found.submodule_search_locations)
    module.__spec__ = found
    sys.modules[name] = module


def quantizers(weight, bits, group):
    """Scales and zero points [N, G], plain rounding to nearest."""
    groups = weight.reshape(len(weight), -1, group)
    low, high = groups.amin(2).clamp(max=0), groups.amax(2).clamp(min=0)
    top = 2**bits - 1
    scales = ((high - low) / top).half().float()
    return scales, torch.round(-low / scales).clamp(1, top)  # AutoGPTQ's format cannot hold a 0


def rounded(weight, scales, zeros, bits, order):
    """The weights that the integers stand for; column k is of the group order[k]."""
    s, z = scales[:, order], zeros[:, order]
    integers = torch.clamp(torch.round(weight / s) + z, 0, 2**bits - 1)
    return (integers - z) * s


def main(folder):
    for name in ("auto_gptq", "awq"):
        without_init(name)
    from auto_gptq.nn_modules.qlinear.qlinear_cuda import QuantLinear as Scattered
    from auto_gptq.nn_modules.qlinear.qlinear_cuda_old import QuantLinear
    from awq.modules.linear.gemm import WQLinear_GEMM

    torch.manual_seed(0)
    rows = torch.randn(ROWS, INPUTS)
    for bits in (4, 8):
        for group in (16, 32, 128, -1):
            size = INPUTS if group == -1 else group
            order = torch.arange(INPUTS) // size
            write_gptq(QuantLinear, folder / f"gptq-{bits}-{group}.npz", bits, group, order, rows)
        scattered = (torch.arange(INPUTS) // 32)[torch.randperm(INPUTS)]
        write_gptq(Scattered, folder / f"scattered-{bits}-32.npz", bits, 32, scattered, rows)
    for group in (32, 128):
        linear = nn.Linear(INPUTS, OUTPUTS, bias=False).half()
        scales, zeros = quantizers(linear.weight.data.float(), 4, group)
        order = torch.arange(INPUTS) // group
        linear.weight.data = rounded(linear.weight.data.float(), scales, zeros, 4, order).half()
        packed = WQLinear_GEMM.from_linear(
            linear, 4, group, scales=scales.T.contiguous(), zeros=zeros.T.contiguous()
        )
        expected = rows @ linear.weight.data.float().T
        save(folder / f"awq-4-{group}.npz", packed, rows, expected)


def write_gptq(kind, path, bits, group, order, rows):
    linear = nn.Linear(INPUTS, OUTPUTS, bias=False)
    size = INPUTS if group == -1 else group
    scales, zeros = quantizers(linear.weight.data, bits, size)
    linear.weight.data = rounded(linear.weight.data, scales, zeros, bits, order)
    packed = kind(bits, group, INPUTS, OUTPUTS, False, weight_dtype=torch.float32)
    packed.pack(linear, scales, zeros.clone(), order.int())
    with torch.no_grad():
        expected = linear(rows)
    save(path, packed, rows, expected)


def save(path, packed, rows, expected):
    parts = {k: v.numpy() for k, v in packed.state_dict().items()}
    np.savez(path, rows=rows.numpy(), expected=expected.numpy(), **parts)


main(Path(sys.argv[1]))
