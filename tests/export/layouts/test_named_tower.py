"""A tower may lie in a folder of its own: all of it, of any known kind, or what is not stored."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import Tiny, write_llava

from llava_edge.errors import CheckpointError, UsageError
from llava_edge.export.layouts.checkpoint import open_checkpoint
from llava_edge.export.layouts.tensor_names import canonical


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


TUNED = "vision_tower.encoder.layers.1.mlp.fc1.bias"


def write_part(folder: Path, kept: tuple[str, ...] = (TUNED,)) -> dict[str, Any]:
    """A checkpoint of transformers that holds a part of its tower; the tower is beside it."""
    (folder / "llava").mkdir()
    write_llava(folder / "llava").model.vision_tower.save_pretrained(folder / "tower")
    file = folder / "llava" / "model.safetensors"
    whole = load_file(file)
    stored = {n: t for n, t in whole.items() if not n.startswith("vision_tower") or n in kept}
    stored |= {name: tensor + 1 for name, tensor in stored.items() if name in kept}
    save_file(stored, file, {"format": "pt"})
    return whole | stored


def test_what_a_checkpoint_lacks_of_its_tower_is_given(tmp_path: Path) -> None:
    tensors = write_part(tmp_path)
    with pytest.raises(CheckpointError, match="lacks vision_tower"):
        open_checkpoint(tmp_path / "llava")
    opened = open_checkpoint(tmp_path / "llava", vision_tower=tmp_path / "tower")
    assert not opened.loads_in_transformers
    found = {canonical(name): tensor for name, tensor in tensors.items()}
    for name, tensor in opened.tensors.items():
        np.testing.assert_array_equal(tensor.read(), found[name], err_msg=name)


def test_a_tower_that_is_not_needed_or_another_is_refused(tmp_path: Path) -> None:
    write_part(tmp_path)
    write_llava(tmp_path, Tiny(vision_layers=4)).model.vision_tower.save_pretrained(tmp_path / "4")
    with pytest.raises(CheckpointError, match="is not the vision tower that vision_config"):
        open_checkpoint(tmp_path / "llava", vision_tower=tmp_path / "4")
    with pytest.raises(UsageError, match="holds one of its own"):
        open_checkpoint(tmp_path, vision_tower=tmp_path / "4")
