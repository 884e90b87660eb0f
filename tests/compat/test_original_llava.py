"""Checkpoints that the original LLaVA's own package wrote compute what it computed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from overlay import Overlay
from PIL import Image
from safetensors.torch import load_file, save_file
from sessions import EXACT, Sessions
from tiny import tokenizer

from llava_edge import load
from llava_edge.errors import CheckpointError, UsageError
from llava_edge.export.export import export
from llava_edge.export.layouts.checkpoint import open_checkpoint

WRITE = Path(__file__).parent / "write_original.py"
BEFORE, AFTER = [1, 7, 30], [100, 9, 280]  # as in write_original.py
PICTURES = ["wide", "tall", "small"]
FORMS = ["linear", "mlp3", "anyres", "stage1", "lora"]


@pytest.fixture(scope="module")
def written(
    original_llava: Overlay, photo: Image.Image, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("original")
    photo.crop((0, 0, 200, 90)).save(folder / "wide.png")
    photo.crop((0, 0, 70, 210)).save(folder / "tall.png")
    photo.resize((17, 17)).save(folder / "small.png")
    original_llava.run(WRITE, folder)
    for name in ("linear", "mlp3", "anyres", "vicuna"):  # the others have their base's
        tokenizer("vicuna_v1").save(str(folder / name / "tokenizer.json"))
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_what_it_computes(written: Path, tmp_path: Path, form: str) -> None:
    """Image embeddings and logits, for pictures of several shapes."""
    bundle = tmp_path / "bundle"
    config = export(written / form, bundle, precision=EXACT, devices=("cpu",))
    assert config.prompt.name == ("mistral" if form == "anyres" else "vicuna_v1")
    model, sessions = load(bundle), Sessions(bundle)
    table = sessions.embedding_table()
    for picture in PICTURES:
        with np.load(written / form / f"{picture}.npz") as expected:
            found = model.encode_image(written / f"{picture}.png").rows
            np.testing.assert_allclose(found, expected["image_embeds"], atol=1e-4)
            rows = np.concatenate([table[BEFORE], found, table[AFTER]])
            sessions.forget()
            np.testing.assert_allclose(sessions.logits(rows), expected["logits"], atol=1e-3)


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "copy"))


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_folders_name_says_nothing(copy: Path) -> None:
    for form in FORMS:
        renamed = (copy / form).rename(copy / f"some-{FORMS.index(form)}")
        assert open_checkpoint(renamed).config.projector_layers == {"linear": 1, "mlp3": 3}.get(
            form, 2
        )


def test_base_and_tower_can_lie_elsewhere(copy: Path) -> None:
    elsewhere = (copy / "vicuna").rename(copy / "base"), (copy / "tower").rename(copy / "clip")
    edit_config(copy / "stage1", _name_or_path="no/base", mm_vision_tower=str(copy / "none"))
    base, tower = elsewhere
    assert open_checkpoint(copy / "stage1", base=base, vision_tower=tower).tensors
    with pytest.raises(CheckpointError, match=r"folder .*none; give .* --vision-tower"):
        open_checkpoint(copy / "stage1", base=base)


def test_pad_is_llavas_own(copy: Path) -> None:
    edit_config(copy / "mlp3", image_aspect_ratio="pad")
    assert open_checkpoint(copy / "mlp3").image.mode == "pad"


def test_select_feature_and_layer(copy: Path) -> None:
    edit_config(copy / "mlp3", mm_vision_select_feature="cls_patch", mm_vision_select_layer=-1)
    config = open_checkpoint(copy / "mlp3").config
    assert (config.drop_first_row, config.feature_layers) == (False, (-1,))


@pytest.mark.parametrize(
    ("form", "changes", "message"),
    [
        ("mlp3", {"mm_projector_type": "identity"}, '"identity" as mm_projector_type'),
        ("mlp3", {"mm_projector_type": "mlp2x_gelu"}, "has the unknown multi_modal_projector"),
        ("mlp3", {"mm_use_im_start_end": True}, "stand between special tokens"),
        ("mlp3", {"image_aspect_ratio": "anyres_max_9"}, '"anyres_max_9" as image_aspect_ratio'),
        ("mlp3", {"mm_vision_select_layer": None}, "mm_vision_select_layer"),
        ("mlp3", {"mm_vision_select_layer": 9}, "has 4 to choose from"),
        ("anyres", {"mm_patch_merge_type": "flat"}, '"flat" as mm_patch_merge_type'),
        ("anyres", {"mm_vision_select_feature": "cls_patch"}, "tiles do not fit together"),
        ("anyres", {"image_grid_pinpoints": [[31, 60]]}, "multiples of the tower's 30"),
        ("mlp3", {"hidden_size": 64}, r"wrong shape for .* instead of"),
    ],
)
def test_what_is_not_supported_is_refused(
    copy: Path, form: str, changes: dict[str, object], message: str
) -> None:
    edit_config(copy / form, **changes)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(copy / form)


def test_a_projector_beside_a_whole_model_is_not_its_own(copy: Path) -> None:
    """Stage 1's file is left behind in the folder that stage 2 began from."""
    shutil.copy(copy / "stage1" / "mm_projector.bin", copy / "anyres")
    name = "multi_modal_projector.linear_1.weight"
    before = open_checkpoint(copy / "anyres").tensors[name].read()
    whole = load_file(copy / "anyres" / "model.safetensors")
    np.testing.assert_array_equal(before, whole["model.mm_projector.0.weight"].numpy())


def test_what_a_whole_model_needs_not_be_told(copy: Path) -> None:
    with pytest.raises(UsageError, match="leave the base out"):
        open_checkpoint(copy / "anyres", base=copy / "vicuna")


def test_no_base_is_named(copy: Path) -> None:
    path = copy / "stage1" / "config.json"
    content = json.loads(path.read_text())
    del content["_name_or_path"]
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="name it with --base"):
        open_checkpoint(copy / "stage1")


def test_neither_weights_nor_projector(copy: Path) -> None:
    (copy / "stage1" / "mm_projector.bin").unlink()
    with pytest.raises(CheckpointError, match="neither a language model nor"):
        open_checkpoint(copy / "stage1")


def test_an_adapter_for_another_base_names_what_does_not_fit(copy: Path) -> None:
    edit_config(copy / "vicuna", num_hidden_layers=1)
    weights = copy / "vicuna" / "model.safetensors"
    tensors = {k: v for k, v in load_file(weights).items() if "layers.1." not in k}
    tensors["model.layers.0.mlp.up_proj.weight"] = torch.zeros(150, 96)
    save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(CheckpointError) as error:
        open_checkpoint(copy / "lora", base=copy / "vicuna")
    assert "layers.0.mlp.up_proj.weight [160, 96] ([150, 96] in the base)" in str(error.value)
    assert "layers.1.self_attn.q_proj.weight [96, 96] (none in the base)" in str(error.value)
