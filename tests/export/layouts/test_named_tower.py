"""An original LLaVA may name a tower of any known kind, in a folder of its own."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import Tiny, write_llava

from llava_edge.export.layouts.checkpoint import open_checkpoint


@pytest.mark.parametrize("kind", ["siglip", "dinov2", "efficientnet_lite"])
def test_the_tower_may_be_of_any_kind(tmp_path: Path, kind: Any) -> None:
    """A LLaVA taken apart as the original keeps it is the same LLaVA."""
    hf, folder, tower = tmp_path / "hf", tmp_path / "original", tmp_path / "tower"
    model = write_llava(hf, Tiny(tower=kind, select="full", feature_layer=-1))
    model.model.vision_tower.save_pretrained(tower)
    whole = open_checkpoint(hf)
    folder.mkdir()
    state = {
        _original_name(name): torch.from_numpy(tensor.read())
        for name, tensor in whole.tensors.items()
        if not name.startswith("vision_tower.")
    }
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    shutil.copy(hf / "tokenizer.json", folder)
    if (hf / "preprocessor_config.json").exists():
        shutil.copy(hf / "preprocessor_config.json", tower)
    config = json.loads((hf / "config.json").read_text())["text_config"]
    changes = {
        "model_type": "llava_llama",
        "architectures": ["LlavaLlamaForCausalLM"],
        "mm_vision_tower": str(tower),
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -1,
        "mm_vision_select_feature": "cls_patch",
    }
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    opened = open_checkpoint(folder)
    assert opened.config == whole.config and opened.image == whole.image
    assert opened.tensors.keys() == whole.tensors.keys()
    for name, tensor in opened.tensors.items():
        np.testing.assert_array_equal(tensor.read(), whole.tensors[name].read())


def _original_name(name: str) -> str:
    name = name.replace("multi_modal_projector.linear_1.", "model.mm_projector.0.")
    name = name.replace("multi_modal_projector.linear_2.", "model.mm_projector.2.")
    return name.replace("language_model.", "model.")
