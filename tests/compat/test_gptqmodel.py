"""GPTQModel dequantizes GPTQ and AWQ checkpoints to the same numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from overlay import Overlay
from quantized_checkpoints import write_awq, write_gptq
from safetensors.torch import load_file, save_file
from tiny import Tiny

from llava_edge.export.layouts.checkpoint import open_checkpoint

DEQUANTIZE = Path(__file__).parent / "dequantize_with_gptqmodel.py"
WRITERS = {
    "gptq": lambda folder: write_gptq(folder, sym=False),
    "gptq_v2": lambda folder: write_gptq(folder, less=0, sym=False, checkpoint_format="gptq_v2"),
    "symmetric": lambda folder: write_gptq(folder, symmetric=True, sym=True),
    "scattered": lambda folder: write_scattered(folder),
    "awq": lambda folder: write_awq(folder, Tiny(text_size=192, text_inner=256)),
}


def write_scattered(folder: Path) -> None:
    write_gptq(folder, sym=False, desc_act=True)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name in [name for name in tensors if name.endswith("g_idx")]:
        order = torch.randperm(len(tensors[name]), generator=torch.Generator().manual_seed(0))
        tensors[name] = tensors[name][order]
    save_file(tensors, path, {"format": "pt"})


@pytest.mark.parametrize("kind", WRITERS)
def test_every_layer_is_what_gptqmodel_makes_of_it(
    gptqmodel: Overlay, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "checkpoint").mkdir()
    WRITERS[kind](tmp_path / "checkpoint")
    gptqmodel.run(DEQUANTIZE, tmp_path / "checkpoint", tmp_path / "layers.npz")
    opened = open_checkpoint(tmp_path / "checkpoint")
    with np.load(tmp_path / "layers.npz") as layers:
        assert len(layers.files) == 14
        for name in layers.files:
            ours = opened.tensors[f"{name.removeprefix('model.')}.weight"].read()
            rounded = ours.astype(np.float16)  # as which the library computes it
            np.testing.assert_array_equal(rounded.astype(np.float32), layers[name])
