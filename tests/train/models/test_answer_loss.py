"""The loss of a batch and its gradients, whichever way the batch is laid out and computed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tiny_training import write_recipe
from torch import Tensor

from llava_edge.data.record_table import open_table
from llava_edge.train.engine.run_stage import prepare_stage
from llava_edge.train.inputs.batches import Devices
from llava_edge.train.inputs.dataset import RecordDataset, pack, pad
from llava_edge.train.inputs.record_encoder import Encoder
from llava_edge.train.models.learner import AnswerLoss, Learner, build, tower_rows
from llava_edge.train.models.text_encoding import read_encoding
from llava_edge.train.recipe import Recipe, Stage, load_recipe
from llava_edge.train.recipe_tables import open_tables
from llava_edge.train.run_data import RunData

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of libraries
RECORDS = (1, 6, 4, 0)  # of the seven; 6 has no picture
PARTS = ("plain stage 1", "full", "lora")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    write_recipe(folder)
    return folder


def stage_of(recipe: Recipe, part: str) -> Stage:
    assert recipe.stage1 and recipe.stage2
    if part == "plain stage 1":
        return replace(recipe.stage1, prompt="plain")
    lora = load_recipe(recipe.out.parent / "recipe.toml", ["stage2.lora.rank=4"]).stage2
    return recipe.stage2 if part == "full" or lora is None else lora


def records_of(
    learner: Learner, recipe: Recipe, stage: Stage, data: RunData | None
) -> RecordDataset:
    table = open_table(stage.data, recipe.out / "tables", recipe.seed)
    encoder = Encoder.of_stage(learner.encoding, recipe, stage)
    return RecordDataset(table, encoder, features=data.features if data else None)


def computed(
    folder: Path,
    part: str = "full",
    data: RunData | None = None,
    precision: str = "fp32",
    **changes: object,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of some records and the gradient of what learns."""
    recipe = load_recipe(folder / "recipe.toml", [f"precision={precision}"])
    learner = build(recipe)
    stage = replace(stage_of(recipe, part), **changes)  # type: ignore[arg-type]
    torch.manual_seed(0)
    model = prepare_stage(learner, stage).train()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # which would be 0, and the gradients of lora_A with it
            torch.nn.init.normal_(parameter, std=0.1)
    records = records_of(learner, recipe, stage, data)
    batch = (pack if stage.packing else pad)([records[index] for index in RECORDS])
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss = model(**batch)["loss"]
    loss.backward()
    learning = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert all(p.grad is not None for p in learning.values())
    return loss.detach(), {n: p.grad for n, p in learning.items() if p.grad is not None}


def assert_close(
    one: tuple[Tensor, dict[str, Tensor]], other: tuple[Tensor, dict[str, Tensor]]
) -> None:
    torch.testing.assert_close(one[0], other[0], atol=1e-5, rtol=1e-5)
    assert one[1].keys() == other[1].keys()
    assert max(float(gradient.abs().max()) for gradient in one[1].values()) > 1e-3
    for name, gradient in one[1].items():
        torch.testing.assert_close(gradient, other[1][name], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("part", PARTS)
def test_packed_records_teach_what_padded_ones_do(folder: Path, part: str) -> None:
    assert_close(computed(folder, part, packing=True), computed(folder, part, packing=False))


@pytest.mark.parametrize("packing", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("part", PARTS)
def test_checkpointed_gradients_are_the_same(folder: Path, part: str, packing: bool) -> None:
    plain = computed(folder, part, packing=packing)
    assert_close(computed(folder, part, packing=packing, gradient_checkpointing=True), plain)


@pytest.mark.parametrize("layers", [1, True, 9])
def test_layers_that_are_computed_again_give_the_same_bits(folder: Path, layers: int) -> None:
    loss, gradients = computed(folder)
    again, others = computed(folder, gradient_checkpointing=layers)
    assert torch.equal(loss, again)
    assert all(torch.equal(gradient, others[name]) for name, gradient in gradients.items())


@pytest.mark.parametrize(("wanted", "checkpointed"), [(False, 0), (0, 0), (1, 1), (True, 2)])
def test_so_many_layers_are_computed_again(folder: Path, wanted: int, checkpointed: int) -> None:
    recipe = load_recipe(folder / "recipe.toml")
    assert recipe.stage2
    model = prepare_stage(build(recipe), replace(recipe.stage2, gradient_checkpointing=wanted))
    layers = model.llava.model.language_model.layers
    found = [layer.gradient_checkpointing for layer in layers]
    assert found == [index < checkpointed for index in range(2)]


def test_a_stage_is_prepared_the_same_whatever_the_one_before_was(folder: Path) -> None:
    recipe = load_recipe(folder / "recipe.toml")
    assert recipe.stage1
    learner = build(recipe)
    prepare_stage(learner, replace(recipe.stage1, packing=True, gradient_checkpointing=True))
    model = prepare_stage(learner, replace(recipe.stage1, packing=False)).train()
    records = records_of(learner, recipe, recipe.stage1, None)
    model(**pad([records[0]]))["loss"].backward()
    layers = [part for part in model.modules() if hasattr(part, "gradient_checkpointing")]
    assert layers and not any(layer.gradient_checkpointing for layer in layers)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_kept_features_teach_what_computed_ones_do(
    folder: Path, tmp_path: Path, precision: str
) -> None:
    recipe = replace(
        load_recipe(folder / "recipe.toml", [f"precision={precision}"]), out=tmp_path / "run"
    )
    recipe.out.mkdir()
    console, learner = Console(quiet=True), build(recipe)
    data = RunData(recipe, open_tables(recipe), read_encoding(recipe), console)
    data.lay_out_features(learner)
    assert data.features is not None and not data.features.whole
    data.fill_features(learner, Devices())
    assert data.features.whole
    kept, fresh = (computed(folder, data=use, precision=precision) for use in (data, None))
    if precision == "fp32":
        assert_close(kept, fresh)
    torch.testing.assert_close(kept[0], fresh[0], atol=1e-3, rtol=1e-3)


def test_the_towers_rows_are_those_of_its_own_precision(folder: Path) -> None:
    learner = build(load_recipe(folder / "recipe.toml", ["precision=bf16"]))
    pixels = torch.randn(2, 3, learner.encoding.image.size, learner.encoding.image.size)
    with torch.autocast("cpu", torch.bfloat16):
        within = tower_rows(learner.model, pixels)
    assert torch.equal(within, tower_rows(learner.model, pixels))


def test_nothing_in_the_tower_drops_out(folder: Path) -> None:
    model = AnswerLoss(build(load_recipe(folder / "recipe.toml")).model).train()
    assert model.training and model.llava.model.language_model.training
    assert not any(part.training for part in model.llava.model.vision_tower.modules())
