"""Two tiny stages, run for real: what learns, what stays, what is written and what resumes."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from sessions import EXACT
from tiny_training import dataset, write_recipe
from torch import Tensor
from transformers import LlavaForConditionalGeneration, TrainingArguments

from llava_edge import Options, load
from llava_edge.errors import PictureError, TrainingError
from llava_edge.export.export import export
from llava_edge.train.engine import trainer
from llava_edge.train.engine.run_stage import _use_one_gpu
from llava_edge.train.inputs.dataset import pad
from llava_edge.train.models.learner import AnswerLoss, build
from llava_edge.train.recipe import load_recipe
from llava_edge.train.train import train

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # of peft's making
    pytest.mark.filterwarnings("ignore::UserWarning"),  # of Trainer's, which misses a GPU
]
TOWER, PROJECTOR, LANGUAGE_MODEL = "vision_tower.", "multi_modal_projector.", "language_model."


def tensors(folder: Path, part: str) -> dict[str, Tensor]:
    """A saved part's tensors under the names they have within it."""
    everything = load_file(folder / "model.safetensors")
    names = [name for name in everything if part in name]
    within = {name: name.split(part, 1)[1].removeprefix("vision_model.") for name in names}
    return {within[name]: everything[name] for name in names}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    assert first.keys() == second.keys() and first
    return all(torch.equal(first[name], second[name]) for name in first)


def cut_after(
    steps: int, monkeypatch: pytest.MonkeyPatch, recipe: Path, overrides: Sequence[str] = ()
) -> None:
    """Train until Ctrl-C, so many micro-batches on."""
    training_step, done = trainer.StageTrainer.training_step, []

    def cut(self: trainer.StageTrainer, *args: object, **kwargs: object) -> Tensor:
        if len(done) == steps:
            raise KeyboardInterrupt
        done.append(1)
        return training_step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.StageTrainer, "training_step", cut)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, overrides)


@pytest.fixture(scope="module")
def full_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = write_recipe(tmp_path_factory.mktemp("full"))
    train(recipe)
    return recipe.parent


@pytest.fixture(scope="module")
def lora_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = write_recipe(
        tmp_path_factory.mktemp("lora"), tower="efficientnet_lite", lora=True, warm_start=True
    )
    train(recipe)
    return recipe.parent


@pytest.mark.parametrize("name", ["full_run", "lora_run"])
def test_stage_1_changes_the_projector_alone(name: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(name)
    stage1 = folder / "run" / "stage1"
    assert same(tensors(stage1, TOWER), load_file(folder / "tower" / "model.safetensors"))
    base = LlavaForConditionalGeneration.from_pretrained(stage1).model.language_model.state_dict()
    given = load_file(folder / "language_model" / "model.safetensors")
    learnt = {k.removeprefix("model."): v for k, v in given.items() if not k.startswith("lm_head")}
    assert same({name: tensor for name, tensor in base.items() if name in learnt}, learnt)
    fresh = build(
        load_recipe(folder / "recipe.toml")
    ).model.model.multi_modal_projector.state_dict()
    assert not same(tensors(stage1, PROJECTOR), fresh)


@pytest.mark.parametrize("name", ["full_run", "lora_run"])
def test_stage_2_leaves_the_tower_alone(name: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(name) / "run"
    assert same(tensors(run / "stage2", TOWER), tensors(run / "stage1", TOWER))
    for part in (PROJECTOR, LANGUAGE_MODEL):
        assert not same(tensors(run / "stage2", part), tensors(run / "stage1", part))


@pytest.mark.parametrize("name", ["full_run", "lora_run"])
def test_transformers_and_export_read_the_checkpoint(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = request.getfixturevalue(name)
    model, report = LlavaForConditionalGeneration.from_pretrained(
        folder / "run" / "stage2", output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    export(folder / "run" / "stage2", tmp_path / "bundle", precision=EXACT)
    rows = load(tmp_path / "bundle").encode_image(folder / "pictures" / "0.png").rows
    learner = build(load_recipe(folder / "recipe.toml"))
    example = dataset(folder, learner.encoding)[0]
    assert example.pixel_values is not None
    expected = model.get_image_features(example.pixel_values).pooler_output[0]
    torch.testing.assert_close(torch.from_numpy(rows), expected.detach(), atol=1e-4, rtol=0)


def test_the_adapter_merged_while_exporting_is_the_merged_checkpoint(
    lora_run: Path, tmp_path: Path
) -> None:
    run = lora_run / "run"
    base = lora_run / "language_model"
    export(run / "adapter", tmp_path / "adapter", base=base, precision=EXACT)
    export(run / "stage2", tmp_path / "merged", precision=EXACT)
    picture = lora_run / "pictures" / "1.png"
    answers = [
        load(tmp_path / name).answer(
            "What is in the picture?", image=picture, options=Options(max_tokens=8)
        )
        for name in ("adapter", "merged")
    ]
    assert answers[0] == answers[1]


def test_a_checkpoint_is_in_the_precision_that_its_configuration_names(tmp_path: Path) -> None:
    train(write_recipe(tmp_path), ["precision=bf16", "stage1.epochs=0.3", "stage2.epochs=0.5"])
    stage2 = tmp_path / "run" / "stage2"
    assert json.loads((stage2 / "config.json").read_text())["text_config"]["dtype"] == "bfloat16"
    assert {tensor.dtype for tensor in tensors(stage2, LANGUAGE_MODEL).values()} == {torch.bfloat16}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_every_file_of_a_run_has_the_umasks_mode(umask: int, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, lora=True)
    before = os.umask(umask)
    try:
        out = train(recipe).parent
    finally:
        os.umask(before)
    files = {path: path.stat().st_mode & 0o777 for path in out.rglob("*")}
    assert {"model.safetensors", "adapter_model.safetensors"} <= {path.name for path in files}
    for path, mode in files.items():
        assert mode == (0o777 if path.is_dir() else 0o666) & ~umask, path


def test_losses_are_logged_and_drawn(full_run: Path) -> None:
    rows = [json.loads(line) for line in (full_run / "run" / "log.jsonl").open()]
    assert {row["stage"] for row in rows} == {"stage1", "stage2"}
    losses = [row["loss"] for row in rows if row["stage"] == "stage2"]
    assert losses[-1] < losses[0]
    assert (full_run / "run" / "losses.png").stat().st_size > 1000


def test_the_head_at_labels_alone_gives_the_loss_of_transformers(full_run: Path) -> None:
    recipe = load_recipe(full_run / "recipe.toml")
    learner = build(recipe)
    records = dataset(full_run, learner.encoding)
    batch = pad([records[0], records[3], records[6]])
    ours = AnswerLoss(learner.model)(**batch)["loss"]
    torch.testing.assert_close(ours, learner.model(**batch).loss, atol=1e-5, rtol=1e-5)


def test_a_resumed_run_ends_like_an_uninterrupted_one(
    full_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(tmp_path)
    cut_after(3, monkeypatch, recipe)  # of stage 1's four steps, the second of which is saved
    assert not (tmp_path / "run" / "stage1").exists()
    with pytest.raises(TrainingError, match="--resume"):
        train(recipe)
    train(recipe, resume=True)
    for stage in ("stage1", "stage2"):
        for part in (PROJECTOR, LANGUAGE_MODEL):
            resumed = tensors(tmp_path / "run" / stage, part)
            assert same(resumed, tensors(full_run / "run" / stage, part))


@pytest.mark.parametrize("settings", [[], ["feature_cache=0"]], ids=["features", "pixels"])
def test_a_broken_picture_stops_with_its_record(settings: list[str], tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    (tmp_path / "pictures" / "3.png").write_bytes(b"no picture")
    with pytest.raises(PictureError, match=r"^Record 4, line \d+ of .*records\.json: .*3\.png"):
        train(recipe, settings)
    assert not (tmp_path / "run" / "stage1").exists()


def test_a_broken_picture_of_the_warm_start_stops_with_its_record(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, tower="efficientnet_lite", warm_start=True)
    (tmp_path / "pictures" / "3.png").write_bytes(b"no picture")
    with pytest.raises(PictureError, match=r"^Record picture-3: .*3\.png"):
        train(recipe, ["feature_cache=0"])


def test_a_new_run_that_cannot_begin_leaves_the_old_one(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    train(recipe, ["stage1.epochs=0.3", "stage2.epochs=0.3"])
    kept = sorted(path for path in (tmp_path / "run").rglob("*"))
    for change in ("prompt=vicuna_v1", "vision_feature_layer=-9", "bad_records=refuse"):
        (tmp_path / "pictures" / "3.png").write_bytes(b"no picture")
        with pytest.raises(TrainingError):
            train(recipe, [change], force=True)
        assert sorted((tmp_path / "run").rglob("*")) == kept


def test_a_resumed_run_reports_as_often_as_it_now_should(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(tmp_path)
    cut_after(3, monkeypatch, recipe, ["stage1.log_steps=2"])
    train(recipe, resume=True)
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log if row["stage"] == "stage1" and "loss" in row] == [2, 3, 4]


def test_one_gpu_is_used_where_torchrun_did_not_start_a_process_for_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    arguments._n_gpu = 2  # as on a workstation with two
    _use_one_gpu(arguments, Console())
    assert arguments.n_gpu == 1
    assert "torchrun --nproc-per-node 2" in " ".join(capsys.readouterr().out.split())
