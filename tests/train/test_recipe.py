"""Recipes are found, read strictly and overridden; what is wrong is said in one sentence."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_training import write_recipe

from llava_edge.data.records import RecordSource
from llava_edge.errors import TrainingError
from llava_edge.train.recipe import Recipe, Stage, load_recipe
from llava_edge.train.recipe_file import shipped_names
from llava_edge.train.resolve_models import resolve_models


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe"), lora=True, warm_start=True)


def stages(recipe: Recipe) -> tuple[Stage, Stage]:
    assert recipe.stage1 is not None and recipe.stage2 is not None
    return recipe.stage1, recipe.stage2


def test_paths_are_relative_to_the_recipe(written: Path) -> None:
    recipe = load_recipe(written)
    assert recipe.out == written.parent / "run"
    assert recipe.vision_tower == str(written.parent / "tower")
    stage1, stage2 = stages(recipe)
    assert stage1.data[0].records == (written.parent / "records.json",)
    assert stage2.lora is not None and stage2.lora.rank == 4
    assert resolve_models(recipe) == recipe


CHANGES: dict[str, tuple[Callable[[str], str], str]] = {
    "an unknown key": (lambda t: t.replace("log_steps", "log_stepz", 1), "stage1.log_stepz"),
    "a missing key": (lambda t: t.replace("projector_lr = 1e-2\n", ""), "stage1.projector_lr"),
    "a wrong type": (lambda t: t.replace("batch_size = 2", 'batch_size = "two"'), "batch_size"),
    "an unknown prompt": (lambda t: t.replace('"chatml"', '"alpaca"'), "alpaca"),
    "adapters that do not learn": (
        lambda t: t.replace("language_model_lr = 1e-2\n", ""),
        "in stage2, lora needs",
    ),
    "a language model in stage 1": (
        lambda t: t.replace("[stage1]", "[stage1]\nlanguage_model_lr = 1"),
        "the projector alone",
    ),
    "no batch": (lambda t: t.replace("batch_size = 2", "batch_size = 0"), "batch_size is 0"),
    "a rate that is no number": (
        lambda t: t.replace("projector_lr = 1e-2", "projector_lr = nan"),
        "projector_lr is nan",
    ),
    "a negative rate": (
        lambda t: t.replace("projector_lr = 1e-2", "projector_lr = -1"),
        "projector_lr is -1",
    ),
    "fewer layers than none": (
        lambda t: t.replace("batch_size = 2", "gradient_checkpointing = -1"),
        "gradient_checkpointing is -1",
    ),
    "half a layer": (
        lambda t: t.replace("batch_size = 2", "gradient_checkpointing = 0.5"),
        "gradient_checkpointing is 0.5",
    ),
    "data that is a number": (lambda t: t.replace("data = {", "data = 1 #", 1), "stage1.data"),
    "data that is a list of numbers": (
        lambda t: t.replace("data = {", "data = [1] #", 1),
        r"stage1.data\[0\]",
    ),
    "a quantized model that is sharded": (
        lambda t: t.replace("[stage1]", 'parallel = "fsdp"\n[stage1]\nquantize = "nf4"'),
        "quantize",
    ),
    "8-bit states that are sharded": (
        lambda t: t.replace("[stage1]", 'parallel = "fsdp"\n[stage1]\noptimizer = "adamw_8bit"'),
        "adamw_8bit",
    ),
    "a seed that is no seed": (lambda t: "seed = -1\n" + t, "seed is -1"),
    "an image token of nothing": (lambda t: 'image_token = " "\n' + t, "image_token is empty"),
    "broken TOML": (lambda t: t + "\n[stage3", "is wrong"),
}


@pytest.mark.parametrize(("change", "named"), CHANGES.values(), ids=CHANGES)
def test_a_wrong_recipe_is_refused(written: Path, change: Callable[[str], str], named: str) -> None:
    path = written.with_name("wrong.toml")
    path.write_text(change(written.read_text()))
    with pytest.raises(TrainingError, match=named) as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ('stage1.data.records=["none.json"]', "none.json"),
        ("vision_tower=.", r"config\.json"),
        ("stage2.data.images=pictures/*.tar", r"\*\.tar"),
        ("projector_weights=nothing", "nothing"),
    ],
)
def test_what_a_run_reads_must_be_there(written: Path, override: str, named: str) -> None:
    recipe = load_recipe(written, [override])
    with pytest.raises(TrainingError, match=named):
        resolve_models(recipe)


def test_a_model_of_the_hub_keeps_its_name_unless_a_folder_has_it(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    path.write_text(path.read_text().replace('"tower"', '"somebody/tower"'))
    assert load_recipe(path).vision_tower == "somebody/tower"
    assert not load_recipe(path).missing
    (tmp_path / "somebody").mkdir()
    (tmp_path / "tower").rename(tmp_path / "somebody" / "tower")
    assert load_recipe(path).vision_tower == str(tmp_path / "somebody" / "tower")


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"nowhere\.toml"):
        load_recipe(tmp_path / "nowhere.toml")
    with pytest.raises(TrainingError, match=r"v2 nor .* paper, qlora, .*, v1\.5-lora"):
        load_recipe("v2")


LIGHT = """
import sys
import llava_edge.train.recipe
from llava_edge.errors import TrainingError
for override in ("seed=one", "vision_tower=nowhere"):
    try:
        llava_edge.train.train(sys.argv[1], [override])
    except TrainingError as error:
        print(error)
print({"torch", "transformers", "accelerate", "peft", "pyarrow", "rich"} & set(sys.modules))
"""


def test_a_wrong_recipe_is_refused_before_torch_is_loaded(written: Path) -> None:
    command = [sys.executable, "-c", LIGHT, str(written)]
    output = subprocess.run(command, capture_output=True, text=True, check=True)
    wrong, missing, loaded = output.stdout.splitlines()
    assert 'seed is "one"' in wrong and "nowhere" in missing
    assert loaded == "set()"


@pytest.mark.parametrize("name", shipped_names())
def test_a_shipped_recipe_is_right_and_relative_to_the_current_directory(name: str) -> None:
    recipe = load_recipe(name)
    assert not recipe.out.is_absolute()
    assert all(not path.is_absolute() for source in recipe.data for path in source.records)
    assert load_recipe(name, ["seed=5"]) != recipe


@pytest.mark.parametrize("value", ["true", "false", "7"])
def test_gradient_checkpointing_is_of_all_layers_or_of_some(written: Path, value: str) -> None:
    given = load_recipe(written, [f"stage2.gradient_checkpointing={value}"])
    assert repr(stages(given)[1].gradient_checkpointing).lower() == value


def test_overrides_take_toml_values_and_bare_words(written: Path) -> None:
    recipe = load_recipe(
        written,
        [
            "name=my model",
            "out = elsewhere",
            "seed=7",
            "stage2.lora.rank=9",
            "stage1.data.limit=3",
            'stage2.data=[{records=["a.json"], images="a"}, {records=["b.json"], images="b"}]',
            "stage2.data.1.weight=0.5",
            "stage1.evaluation.records=['held.json']",
            "stage1.evaluation.images=held",
        ],
    )
    stage1, stage2 = stages(recipe)
    assert (recipe.name, recipe.out, recipe.seed) == ("my model", Path("elsewhere"), 7)
    assert stage2.lora is not None and (stage2.lora.rank, stage2.lora.alpha) == (9, 8)
    assert stage1.data[0].limit == 3
    assert stage1.data[0].records == (written.parent / "records.json",)
    assert stage1.evaluation == (RecordSource((Path("held.json"),), Path("held")),)
    assert [(s.records[0].name, s.weight) for s in stage2.data] == [("a.json", 1), ("b.json", 0.5)]


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("seed", "key=value"),
        ("=3", "key=value"),
        ("seed=one", 'seed is "one"'),
        ("stage1.epochs=inf", "epochs is inf"),
        ("seed.value=1", "seed is 0, which has no keys"),
        ("stage1.data.0=1", "say which of its keys"),
        ("stage3.epochs=1", "stage3"),
        ("stage1.data.3.limit=1", r"stage1\.data\[0\]\.3"),
    ],
)
def test_a_wrong_override_is_refused(written: Path, override: str, named: str) -> None:
    with pytest.raises(TrainingError, match=named) as caught:
        load_recipe(written, ["seed=0", override])
    assert "\n" not in str(caught.value)


def test_which_of_several_sources_must_be_said() -> None:
    with pytest.raises(TrainingError, match=r"stage2\.data has 2 entries.*stage2\.data\.0\.weight"):
        load_recipe("emoji", ["stage2.data.weight=2"])
    _, stage2 = stages(load_recipe("emoji", ["stage2.data.0.weight=2"]))
    assert [source.weight for source in stage2.data] == [2, 1]


@given(
    devices=st.integers(1, 9),
    at_once=st.integers(1, 9),
    in_a_row=st.integers(1, 9),
    limit=st.booleans(),
)
def test_devices_share_a_step(devices: int, at_once: int, in_a_row: int, limit: bool) -> None:
    batch = devices * at_once * in_a_row
    data = (RecordSource((Path("r.json"),), Path()),)
    stage = Stage(data, 1.0, batch_size=batch, device_batch_size=at_once if limit else None)
    assert stage.split(devices) == ((at_once, in_a_row) if limit else (at_once * in_a_row, 1))
    if devices > 1:
        with pytest.raises(TrainingError, match=f"multiple of {batch + 1}"):
            stage.split(batch + 1)


def test_more_at_once_than_a_share_is_the_share() -> None:
    stage = Stage(
        (RecordSource((Path("r.json"),), Path()),), 1.0, batch_size=16, device_batch_size=16
    )
    assert stage.split(4) == (4, 1)
    stage = Stage(stage.data, 1.0, batch_size=24, device_batch_size=8)
    with pytest.raises(TrainingError, match="device_batch_size 8"):
        stage.split(2)
