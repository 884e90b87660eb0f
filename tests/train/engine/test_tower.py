"""A vision tower that learns: what changes in it, and that its features are not kept."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_training import dataset, write_recipe
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from llava_edge.errors import TrainingError
from llava_edge.train.engine.run_stage import prepare_stage
from llava_edge.train.inputs.dataset import pad
from llava_edge.train.models.adapters import merged
from llava_edge.train.models.learner import build, tower_rows
from llava_edge.train.planning.memory_estimate import trained_parameters
from llava_edge.train.planning.plan import make_plan
from llava_edge.train.recipe import Lora, Stage, load_recipe
from llava_edge.train.train import train
from llava_edge.train.watch.flops import training_cost

FULL = "stage2.vision_tower_lr=1e-2"
ADAPTERS = "stage2.vision_tower_lora={ rank = 2, alpha = 4 }"


def towers(run: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tower's tensors after stage 1 and after stage 2, as transformers reads them."""
    first, last = (
        LlavaForConditionalGeneration.from_pretrained(run / name).model.vision_tower.state_dict()
        for name in ("stage1", "stage2")
    )
    return first, last


def changed(run: Path) -> set[str]:
    first, last = towers(run)
    return {name for name in first if not torch.equal(first[name], last[name])}


@pytest.mark.parametrize("how", [(FULL,), (FULL, ADAPTERS)], ids=["full", "adapters"])
@pytest.mark.parametrize("lora", [True, False], ids=["lora", "whole"])
def test_a_clip_tower_learns_up_to_the_layer_that_is_used(
    how: tuple[str, ...], lora: bool, tmp_path: Path
) -> None:
    train(write_recipe(tmp_path, lora=lora), how)
    names = changed(tmp_path / "run")
    layers = {name.split("layers.")[1].split(".")[0] for name in names if "layers." in name}
    assert layers == {"0", "1"}  # of three, since the last but one state is used
    assert any("embeddings" in name for name in names) == (len(how) == 1)
    header = json.loads((tmp_path / "run" / "run.json").read_text())
    assert header["recipe"]["stage2"]["vision_tower_lr"] == 1e-2


def test_the_statistics_of_a_cnn_stay(tmp_path: Path) -> None:
    train(write_recipe(tmp_path, tower="efficientnet_lite"), [FULL])
    names = changed(tmp_path / "run")
    assert any("conv.weight" in name for name in names)
    assert any("norm.bias" in name for name in names)
    assert not any("running" in name for name in names)


def test_adapters_on_a_cnn_are_refused(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path, tower="efficientnet_lite"), [FULL, ADAPTERS])
    assert recipe.stage2 is not None
    with pytest.raises(TrainingError, match="no linear layers for adapters"):
        prepare_stage(build(recipe), recipe.stage2)


@pytest.mark.parametrize("adapters", [None, Lora(2, 4, 0.0)], ids=["full", "adapters"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_autograd_alone(
    adapters: Lora | None, checkpointing: bool, tmp_path: Path
) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    stage = Stage(
        recipe.stages["stage2"].data,
        projector_lr=1.0,
        vision_tower_lr=1.0,
        vision_tower_lora=adapters,
        gradient_checkpointing=checkpointing,
        packing=False,
    )
    learner = build(recipe)
    records = dataset(tmp_path, learner.encoding)
    batch = pad([records[index] for index in range(7)])
    given = {name: value for name, value in batch.items() if name not in ("records", "lengths")}
    loss = prepare_stage(learner, stage).train()
    tower = learner.model.model.vision_tower
    with torch.no_grad():
        for name, parameter in tower.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    loss(**given)["loss"].backward()
    own = {name: p.grad for name, p in tower.named_parameters() if p.requires_grad}
    assert own and all(gradient is not None for gradient in own.values())
    loss.zero_grad()
    loss.eval()  # in which nothing is computed again
    learner.model(**given).loss.backward()
    for name, parameter in tower.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(own[name], parameter.grad)
    before = tower_rows(learner.model, given["pixel_values"]).detach()
    if adapters:
        learner.model.model.vision_tower = merged(tower)
    after = tower_rows(learner.model, given["pixel_values"])
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-4)


def test_words_alone_leave_the_tower_a_gradient(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path), [FULL])
    assert recipe.stage2 is not None
    learner = build(recipe)
    words = pad([dataset(tmp_path, learner.encoding)[6]])
    given = {name: value for name, value in words.items() if name not in ("records", "lengths")}
    loss = prepare_stage(learner, replace(recipe.stage2, packing=False)).train()
    loss(**given)["loss"].backward()
    learned = [p for p in learner.model.model.vision_tower.parameters() if p.requires_grad]
    assert learned and all(p.grad is not None and not p.grad.any() for p in learned)


def test_a_stage_whose_tower_learns_keeps_no_features(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    assert make_plan(load_recipe(recipe)).cache_bytes
    assert make_plan(load_recipe(recipe, [FULL])).cache_bytes == 0  # stage 1 sees each once
    train(recipe, [FULL])
    assert not (tmp_path / "run" / "features").exists()


def test_the_plan_counts_what_learns(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    for how in ([FULL], [FULL, ADAPTERS]):
        read = load_recipe(recipe, how)
        plan, learner = make_plan(read), build(read)
        assert plan.shape is not None and read.stage2 is not None
        prepare_stage(learner, read.stage2)
        tower = learner.model.model.vision_tower
        whole = sum(p.numel() for n, p in tower.named_parameters() if len(how) == 1 or "lora" in n)
        frozen = replace(read.stage2, vision_tower_lr=0.0, vision_tower_lora=None)
        rest = trained_parameters(plan.shape, frozen)
        assert trained_parameters(plan.shape, read.stage2) - rest == whole
        cost = training_cost(learner.model, learner.encoding.image.size)
        prepare_stage(again := build(read), frozen)
        still = training_cost(again.model, learner.encoding.image.size)
        assert 1.2 * still.image < cost.image < 3 * still.image


def test_checkpoints_of_a_stopped_run_go_on(tmp_path: Path) -> None:
    """A run that saved after step 2 of 3 goes on to the weights of one that never stopped."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder in (whole, stopped):
        folder.mkdir()
        write_recipe(folder)
    train(whole / "recipe.toml", [FULL, ADAPTERS])
    recipe = stopped / "recipe.toml"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llava_edge.train.run_recipe._save", _stop_in_stage2)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, [FULL, ADAPTERS])
    train(recipe, [FULL, ADAPTERS], resume=True)
    for one, other in zip(towers(whole / "run"), towers(stopped / "run"), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def _stop_in_stage2(learner: object, recipe: object, name: str, stage: object) -> None:
    from llava_edge.train import run_recipe

    if name == "stage2":
        raise KeyboardInterrupt
    run_recipe.save_checkpoint(learner, recipe, recipe.out / name, projector_file=True)  # type: ignore[attr-defined,arg-type]
