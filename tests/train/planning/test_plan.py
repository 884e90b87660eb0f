"""A plan says what a run will do before anything is loaded; provenance says what it was."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_training import write_recipe
from transformers import MambaConfig

from llava_edge.core.bundle_config import ImageConfig
from llava_edge.data.record_table import RecordTable, open_table
from llava_edge.data.records import RecordSource
from llava_edge.errors import RecordError, TrainingError
from llava_edge.train import recipe_tables as tables_module
from llava_edge.train.inputs.batches import steps_of
from llava_edge.train.inputs.picture_views import PictureViews
from llava_edge.train.models.learner import build
from llava_edge.train.planning.plan import Plan, make_plan, memory_line
from llava_edge.train.planning.plan_table import print_plan
from llava_edge.train.planning.record_counts import count_records
from llava_edge.train.provenance import provenance
from llava_edge.train.recipe import Stage, load_recipe
from llava_edge.train.recipe_file import shipped_names

STAGE = Stage((RecordSource((Path("r.json"),), Path()),), 1.0, batch_size=7)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    recipe = write_recipe(folder, lora=True)
    MambaConfig(hidden_size=24, num_hidden_layers=2).save_pretrained(folder / "mamba")
    config = json.loads((folder / "language_model" / "config.json").read_text())
    (folder / "short").mkdir()
    short = json.dumps(config | {"max_position_embeddings": 50})
    (folder / "short" / "config.json").write_text(short)
    return recipe


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none of what the shipped recipes name is, and no hub is asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "huggingface_hub.HfApi.model_info", lambda *_, **__: pytest.fail("fetches a model")
    )


def shown(plan: Plan, capsys: pytest.CaptureFixture[str]) -> str:
    print_plan(plan)
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", shipped_names())
def test_a_shipped_recipe_is_planned_without_network_and_data(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan(load_recipe(name), devices=2)
    assert plan.shape is not None
    assert all(stage.memory and stage.data is None for stage in plan.stages.values())
    output = shown(plan, capsys)
    assert "still needed: " in output
    assert f"{plan.shape.parameters:,}" in output


def test_the_4_bit_recipe_fits_a_card_of_12_gb() -> None:
    plan = make_plan(load_recipe("qlora"))
    assert all(s.memory and s.memory.total < 11e9 for s in plan.stages.values())
    whole = make_plan(load_recipe("v1.5-lora", ["stage2.device_batch_size=2"])).stages["stage2"]
    assert whole.memory and whole.memory.total > 18e9


def test_records_steps_and_parameters_are_counted(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load_recipe(written, ["stage1.data.weight=2.5", "stage1.epochs=3"])
    plan = make_plan(recipe)
    stage1, stage2 = plan.stages["stage1"], plan.stages["stage2"]
    assert stage1.data is not None and stage2.data is not None
    assert (stage1.data.records, stage1.data.seen) == (7, 18)
    assert (stage1.steps, stage2.steps) == (3 * 9, 3)
    assert stage1.warmup_steps == 1
    learner = build(recipe)
    assert plan.shape is not None
    assert plan.shape.parameters == sum(p.numel() for p in learner.model.parameters())
    assert plan.shape.tower.image_tokens == learner.encoding.image_tokens
    assert not plan.needed
    assert "still needed" not in shown(plan, capsys)
    assert memory_line(plan).startswith("Memory: about ")


def test_a_stage_is_not_counted_before_all_of_its_files_are_there(written: Path) -> None:
    late = "stage2.data=[{records=['{0}/records.json'], images='{0}/pictures'}, "
    late += "{records=['none.json'], images='{0}/pictures'}]"
    plan = make_plan(load_recipe(written, [late.replace("{0}", str(written.parent))]))
    assert plan.stages["stage1"].data is not None and plan.stages["stage2"].data is None
    assert plan.cache_bytes is None and plan.needed == ("none.json",)


def test_what_stages_share_is_opened_once(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []

    def counting(sources: object, *args: Any) -> RecordTable:
        opened.append(sources)
        return open_table(sources, *args)

    monkeypatch.setattr(tables_module, "open_table", counting)
    recipe = load_recipe(written)
    tables = tables_module.open_tables(recipe)
    assert make_plan(recipe, tables=tables).cache_bytes
    assert tables.train["stage1"] is tables.train["stage2"] and len(opened) == 1


def test_the_longest_record_bounds_the_memory(written: Path) -> None:
    free = make_plan(load_recipe(written)).stages["stage2"]
    cut = make_plan(load_recipe(written, ["max_tokens=9"])).stages["stage2"]
    assert free.tokens > 36 > cut.tokens == 9
    assert free.memory and cut.memory and cut.memory.activations < free.memory.activations


def test_features_are_on_disk_where_pictures_are_shown_again_and_all_fit(written: Path) -> None:
    recipe = load_recipe(written)
    plan = make_plan(recipe)
    assert plan.shape is not None
    of_a_picture = plan.shape.tower.image_tokens * plan.shape.tower.channels * 4
    assert plan.cache_bytes == 6 * of_a_picture  # of fp32, for both stages
    assert make_plan(replace(recipe, feature_cache=1e-6)).cache_bytes == 0
    alone = replace(recipe, stage1=None, projector_weights=written)
    assert make_plan(alone).cache_bytes == 0


def test_a_model_that_is_not_there_leaves_the_rest_of_the_plan(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan(load_recipe(written, ["vision_tower=nowhere"]))
    assert plan.shape is None and plan.stages["stage2"].steps == 3
    assert "still needed: nowhere/config.json" in shown(plan, capsys)


@pytest.mark.parametrize(
    ("override", "error", "named"),
    [
        ("vision_feature_layer=-9", TrainingError, "vision_feature_layer is -9"),
        ("language_model={folder}/tower", TrainingError, "clip_vision_model"),
        ("vision_tower={folder}/language_model", TrainingError, "llama, which sees no pictures"),
        ("language_model={folder}/mamba", TrainingError, "mamba, which has no attention"),
        ("language_model={folder}/short", TrainingError, "set max_tokens to 50 or less"),
        ("stage1.data.records=['{folder}/pictures']", RecordError, "pictures"),
    ],
)
def test_what_cannot_be_planned(
    written: Path, override: str, error: type[Exception], named: str
) -> None:
    recipe = load_recipe(written, [override.format(folder=written.parent)])
    with pytest.raises(error, match=named):
        make_plan(recipe)


def test_devices_that_cannot_share_a_batch(written: Path) -> None:
    with pytest.raises(TrainingError, match="multiple of 5"):
        make_plan(load_recipe(written), devices=5)


@pytest.mark.parametrize(
    ("epochs", "records", "steps"), [(1.0, 14, 2), (3.0, 15, 9), (1.5, 14, 3), (0.1, 3, 1)]
)
def test_steps(epochs: float, records: int, steps: int) -> None:
    assert steps_of(replace(STAGE, epochs=epochs), records) == steps


def test_lengths_follow_the_records(tmp_path: Path) -> None:
    def sample(words: int, image: str | None) -> dict[str, Any]:
        turns = [{"from": "human", "value": "?"}, {"from": "gpt", "value": "w" * words}]
        return {"id": "1", "conversations": turns, **({"image": image} if image else {})}

    (tmp_path / "a.json").write_text(json.dumps([sample(39, "p.png"), sample(79, None)]))
    sources = [RecordSource((tmp_path / "a.json",), tmp_path, weight=0.5)]
    table = open_table(sources, tmp_path / "cache", seed=0)
    image = ImageConfig(14, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "square")
    found = count_records(table, PictureViews(image, 50), max_tokens=1000)
    assert (found.records, found.seen, found.pictures) == (2, 1, 1)
    assert (found.longest, found.words) == (61, 21)


def test_provenance_is_json_with_every_default(written: Path) -> None:
    recipe = load_recipe(written)
    said = json.loads(json.dumps(provenance(recipe, {"records.json": "12ab"})))
    assert said["recipe"]["stage2"]["lora"] == {"rank": 4, "alpha": 8, "dropout": 0.0}
    assert said["recipe"]["stage1"]["warmup_ratio"] == 0.03
    assert said["recipe"]["out"] == recipe.out.as_posix()
    assert said["data"] == {"records.json": "12ab"}
    assert set(said["versions"]) >= {"llava-edge", "python", "torch", "transformers", "peft"}
    assert said["seed"] == 0 and said["device"]
