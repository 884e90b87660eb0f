"""Projectors go out as the original LLaVA reads them, and come in from whatever holds one."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_learner import CLIP, TEXT, write_parts
from torch import Tensor
from transformers import LlamaConfig, LlavaForConditionalGeneration

from llava_edge.errors import TrainingError
from llava_edge.train.checkpoints.projector_file import load_projector, save_projector
from llava_edge.train.checkpoints.save import save_checkpoint
from llava_edge.train.models.learner import build
from llava_edge.train.recipe import Recipe

MLP = ("0.weight", "0.bias", "2.weight", "2.bias")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return write_parts(tmp_path_factory.mktemp("parts"), CLIP, LlamaConfig(**TEXT))


@pytest.fixture
def model(recipe: Recipe) -> LlavaForConditionalGeneration:
    model = build(recipe).model
    torch.nn.init.normal_(model.model.multi_modal_projector.linear_1.bias)
    return model


def weights(model: LlavaForConditionalGeneration) -> dict[str, Tensor]:
    state = model.model.multi_modal_projector.state_dict()
    return {name: tensor.clone() for name, tensor in state.items()}


def overwritten(model: LlavaForConditionalGeneration, path: Path) -> dict[str, Tensor]:
    """The projector that is read over zeros."""
    for parameter in model.model.multi_modal_projector.parameters():
        parameter.data.zero_()
    load_projector(model, path)
    return weights(model)


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_it_has_the_original_names(model: LlavaForConditionalGeneration, tmp_path: Path) -> None:
    save_projector(model, tmp_path / "mm_projector.bin")
    content = torch.load(tmp_path / "mm_projector.bin", weights_only=True)
    assert list(content) == [f"model.mm_projector.{part}" for part in MLP]
    # The original builds Sequential(Linear, GELU, Linear) and takes what follows "mm_projector.".
    layers = torch.nn.Sequential(torch.nn.Linear(40, 96), torch.nn.GELU(), torch.nn.Linear(96, 96))
    layers.load_state_dict({k.split("mm_projector.")[1]: v for k, v in content.items()})
    rows = torch.randn(3, 40)
    torch.testing.assert_close(layers(rows), model.model.multi_modal_projector(rows))


def test_a_linear_one_has_no_number(recipe: Recipe, tmp_path: Path) -> None:
    linear = build(Recipe(**{**vars(recipe), "projector": "linear"})).model
    save_projector(linear, tmp_path / "mm_projector.bin")
    content = torch.load(tmp_path / "mm_projector.bin", weights_only=True)
    assert list(content) == ["model.mm_projector.weight", "model.mm_projector.bias"]
    before = weights(linear)
    assert same(before, overwritten(linear, tmp_path / "mm_projector.bin"))


@pytest.mark.parametrize("prefix", ["", "model.", "base_model.model.model."])
@pytest.mark.parametrize("name", ["mm_projector.bin", "non_lora_trainables.bin", "a.safetensors"])
def test_it_comes_in_whatever_stands_before(
    prefix: str, name: str, model: LlavaForConditionalGeneration, tmp_path: Path
) -> None:
    before = weights(model)
    values = zip((f"{prefix}mm_projector.{part}" for part in MLP), before.values(), strict=True)
    other = {"model.embed_tokens.weight": torch.zeros(2, 3)}
    save = save_file if name.endswith("safetensors") else torch.save
    save({**dict(values), **other}, tmp_path / name)
    assert same(before, overwritten(model, tmp_path / name))
    assert same(before, overwritten(model, tmp_path))


def test_it_comes_from_a_checkpoint(recipe: Recipe, tmp_path: Path) -> None:
    learner = build(recipe)
    save_checkpoint(learner, recipe, tmp_path / "with", projector_file=True)
    save_checkpoint(learner, recipe, tmp_path / "without")
    assert (tmp_path / "with" / "mm_projector.bin").exists()
    assert not (tmp_path / "without" / "mm_projector.bin").exists()
    before = weights(learner.model)
    for folder in ("with", "without"):
        assert same(before, overwritten(learner.model, tmp_path / folder))


@pytest.mark.parametrize("case", ["shape", "linear", "empty", "broken"])
def test_what_is_no_fitting_projector_is_refused(
    case: str, model: LlavaForConditionalGeneration, tmp_path: Path
) -> None:
    path = tmp_path / "mm_projector.bin"
    content = {
        "shape": {f"mm_projector.{part}": torch.zeros(7, 5) for part in MLP},
        "linear": {"mm_projector.weight": torch.zeros(96, 40), "mm_projector.bias": torch.ones(96)},
        "empty": {"lm_head.weight": torch.zeros(3, 5)},
        "broken": {},
    }[case]
    torch.save(content, path)
    if case == "broken":
        path.write_bytes(path.read_bytes()[:40])
    expected = {
        "shape": r"linear_1\.weight \[7, 5\].*need.*linear_1\.weight \[96, 40\]",
        "linear": r"has linear_1\.bias \[96\], linear_1\.weight \[96, 40\], but.*linear_2",
        "empty": "holds no projector",
        "broken": "cannot be read",
    }[case]
    with pytest.raises(TrainingError, match=expected):
        load_projector(model, path)
