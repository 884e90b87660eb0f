"""An adapter and its base give the checkpoint of the run, and peft attaches it by itself."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tiny_learner import CLIP, TEXT, TOWER, adapt, inputs, write_parts
from transformers import (
    AutoModelForCausalLM,
    GPTNeoXConfig,
    LlamaConfig,
    Phi3Config,
    SiglipVisionConfig,
)
from typer.testing import CliRunner

from llava_edge.cli.main import app
from llava_edge.errors import CheckpointError
from llava_edge.train.checkpoints.merge import merge
from llava_edge.train.checkpoints.save import save_adapter, save_checkpoint
from llava_edge.train.models.learner import Learner, build
from llava_edge.train.recipe import Recipe

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft's making
FULL = {"vision_feature_select_strategy": "full"}
KINDS = {
    "llama": lambda: (CLIP, LlamaConfig(**TEXT, tie_word_embeddings=True), {}),
    "phi3, a new image token": lambda: (
        SiglipVisionConfig(**TOWER),
        Phi3Config(**TEXT),
        {**FULL, "image_token": "<picture>"},
    ),
    "neox, linear": lambda: (CLIP, GPTNeoXConfig(**TEXT), {"projector": "linear"}),
}


@pytest.fixture(scope="module", params=KINDS)
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Learner, Recipe]:
    """A run's adapter folder, its checkpoint, and the model with the adapter merged."""
    vision, text, changes = KINDS[request.param]()
    recipe = write_parts(tmp_path_factory.mktemp("parts"), vision, text, **changes)
    learner = build(recipe)
    adapt(learner)
    save_adapter(learner, recipe, recipe.out / "adapter")
    inner = learner.model.model
    inner.language_model = inner.language_model.merge_and_unload()
    save_checkpoint(learner, recipe, recipe.out / "stage2")
    return learner, recipe


@pytest.fixture
def adapter(trained: tuple[Learner, Recipe], tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(trained[1].out / "adapter", tmp_path / "adapter"))


def test_it_is_the_checkpoint_of_the_run(trained: tuple[Learner, Recipe], tmp_path: Path) -> None:
    run = trained[1].out
    result = CliRunner().invoke(app, ["merge", str(run / "adapter"), str(tmp_path / "merged")])
    assert result.exit_code == 0, result.output
    assert "llava-edge export" in result.output
    names = sorted(path.name for path in (run / "stage2").iterdir())
    assert sorted(path.name for path in (tmp_path / "merged").iterdir()) == names
    expected = load_file(run / "stage2" / "model.safetensors")
    found = load_file(tmp_path / "merged" / "model.safetensors")
    assert found.keys() == expected.keys()
    # Bit for bit, since fp16 holds this adapter exactly.
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    for name in set(names) - {"model.safetensors"}:
        first, second = ((folder / name) for folder in (run / "stage2", tmp_path / "merged"))
        read = json.loads if name.endswith(".json") else str
        assert read(first.read_text()) == read(second.read_text()), name


def test_peft_attaches_the_adapter_to_the_language_model(
    trained: tuple[Learner, Recipe],
) -> None:
    learner, recipe = trained
    base = AutoModelForCausalLM.from_pretrained(recipe.language_model)
    model = PeftModel.from_pretrained(base, recipe.out / "adapter")
    stored = load_file(recipe.out / "adapter" / "adapter_model.safetensors")
    own = {name.replace(".default", "") for name in model.state_dict() if "lora_" in name}
    assert stored.keys() == own
    ids = inputs(learner)["input_ids"]
    ids = ids[ids < len(base.get_input_embeddings().weight)][None]
    with torch.no_grad():
        logits = model.eval()(ids).logits
        merged = learner.model.eval()(input_ids=ids).logits[..., : logits.shape[-1]]
    torch.testing.assert_close(logits, merged, atol=1e-4, rtol=1e-4)


def refused(match: str, adapter: Path, out: Path, base: Path | None = None) -> None:
    with pytest.raises(CheckpointError, match=match):
        merge(adapter, out, base)
    assert not out.exists() and not out.with_name(out.name + ".partial").exists()


def test_another_base_is_refused(
    trained: tuple[Learner, Recipe], adapter: Path, tmp_path: Path
) -> None:
    recipe = trained[1]
    other = write_parts(tmp_path, CLIP, LlamaConfig(**{**TEXT, "hidden_size": 48}))
    base = Path(other.language_model)
    refused("has model.safetensors with the sha256", adapter, tmp_path / "out", base)
    shutil.copyfile(Path(recipe.language_model) / "config.json", tmp_path / "config.json")
    named = json.loads((adapter / "base.json").read_text())
    (base / "base.json").write_text(json.dumps(named))  # says it is the right one
    refused("cannot be merged", adapter, tmp_path / "out", base)
    refused("is no language model's folder", adapter, tmp_path / "out", tmp_path / "missing")


def test_a_base_that_is_gone_must_be_named(adapter: Path, tmp_path: Path) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(tmp_path / "gone")
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    refused("gone; give an existing one with --base", adapter, tmp_path / "out")


def test_other_folders_are_refused(
    trained: tuple[Learner, Recipe], adapter: Path, tmp_path: Path
) -> None:
    refused("lacks adapter_config.json", trained[1].out / "stage2", tmp_path / "out")
    (tmp_path / "there").mkdir()
    with pytest.raises(CheckpointError, match="exists already"):
        merge(adapter, tmp_path / "there")
    parts = load_file(adapter / "model.safetensors")
    parts.popitem()
    save_file(parts, adapter / "model.safetensors", {"format": "pt"})
    refused("cannot be merged", adapter, tmp_path / "out")


def test_fp16_is_all_that_an_adapter_loses(tmp_path: Path) -> None:
    recipe = write_parts(tmp_path, CLIP, LlamaConfig(**TEXT))
    learner = build(replace(recipe))
    adapt(learner)
    inner = learner.model.model
    for name, parameter in inner.language_model.named_parameters():
        if "lora_" in name:
            parameter.data.mul_(1.0001)  # which fp16 does not hold
    save_adapter(learner, recipe, recipe.out / "adapter")
    merge(recipe.out / "adapter", tmp_path / "merged")
    exact = inner.language_model.merge_and_unload().state_dict()
    found = load_file(tmp_path / "merged" / "model.safetensors")
    for name, tensor in exact.items():
        torch.testing.assert_close(found[f"language_model.model.{name}"], tensor, atol=1e-3, rtol=0)
