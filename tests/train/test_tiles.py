"""LLaVA-NeXT's tiles in training: what transformers' LlavaNext and the runtime make of pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sessions import EXACT
from tiled_training import PINPOINTS, SHAPES, SIZE, write_tiled_recipe
from tiny_learner import TEXT, TOWER, write_parts
from tiny_training import dataset
from transformers import (
    AutoProcessor,
    LlamaConfig,
    LlavaNextForConditionalGeneration,
    SiglipVisionConfig,
)
from transformers.models.llava_next.processing_llava_next import LlavaNextProcessor

from llava_edge import load
from llava_edge.core.picture import load_picture, picture_size
from llava_edge.data.record_table import open_table
from llava_edge.data.records import RecordSource
from llava_edge.errors import TrainingError
from llava_edge.export.export import export
from llava_edge.train.checkpoints.merge import merge
from llava_edge.train.inputs.dataset import RecordDataset, pack, pad
from llava_edge.train.inputs.record_encoder import Encoder
from llava_edge.train.models.learner import AnswerLoss, Learner, build
from llava_edge.train.planning.plan import make_plan
from llava_edge.train.recipe import load_recipe
from llava_edge.train.train import train


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiled_recipe(tmp_path_factory.mktemp("tiles"))


@pytest.fixture(scope="module")
def learner(recipe: Path) -> Learner:
    return build(load_recipe(recipe))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both stages with adapters, stage 1 from cached features and a warm start."""
    folder = tmp_path_factory.mktemp("run")
    train(write_tiled_recipe(folder, lora=True, warm_start=True))
    return folder


def test_the_loss_and_its_gradients_are_transformers(recipe: Path, learner: Learner) -> None:
    records = dataset(recipe.parent, learner.encoding)
    batch = pad([records[index] for index in range(len(records))])
    sizes = batch["image_sizes"]
    assert sizes.tolist() == [list(shape) for shape in (*SHAPES, SHAPES[0], SHAPES[3])]
    loss = AnswerLoss(learner.model)
    learner.model.requires_grad_(True)
    learner.model.model.vision_tower.requires_grad_(False)
    given = {name: value for name, value in batch.items() if name not in ("records", "lengths")}
    ours = loss(**given)["loss"]
    ours.backward()
    newline = learner.model.model.image_newline
    gradient = newline.grad.clone()
    learner.model.zero_grad()
    theirs = learner.model(**given).loss
    theirs.backward()
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient, newline.grad)
    assert gradient.abs().max() > 0
    packed = pack([records[index] for index in range(len(records))])
    assert packed["image_sizes"].equal(sizes)


def test_words_alone_leave_every_gradient_there(recipe: Path, learner: Learner) -> None:
    records = dataset(recipe.parent, learner.encoding)
    words = {k: v for k, v in pad([records[6]]).items() if k not in ("records", "lengths")}
    assert "pixel_values" not in words
    learner.model.requires_grad_(True)
    learner.model.zero_grad()
    AnswerLoss(learner.model)(**words)["loss"].backward()
    assert learner.model.model.image_newline.grad.abs().max() == 0


def test_records_have_as_many_image_tokens_as_the_processor_says(
    recipe: Path, learner: Learner
) -> None:
    views, processor = learner.encoding.views, LlavaNextProcessor.__new__(LlavaNextProcessor)
    counted = []
    for index, (height, width) in enumerate(SHAPES):
        picture = recipe.parent / "pictures" / f"{index}.png"
        best = views.pixels(picture)
        assert len(best) == views.count(picture) <= views.most
        side = round(views.rows**0.5)
        tall, wide = next(p for p in PINPOINTS if p == _best(height, width))
        assert len(best) == 1 + tall * wide // SIZE**2
        unpadded, ends = processor._get_unpadded_features(
            height, width, side, side, tall // SIZE, wide // SIZE
        )
        counted.append(views.rows + unpadded + ends)
        assert views.image_tokens(picture) == counted[-1] <= views.most_image_tokens
    records = dataset(recipe.parent, learner.encoding)
    image = learner.encoding.image_token_id
    assert [int((records[i].input_ids == image).sum()) for i in range(6)] == counted
    lengths, pictured = records.lengths()
    words = records._table.characters[records._positions] // 4
    assert (lengths - words).tolist() == [*counted, 0, counted[0] + counted[3]]
    assert pictured.tolist() == [True] * 6 + [False, True]
    plan = make_plan(load_recipe(recipe))
    assert plan.shape is not None and plan.shape.parameters == sum(
        p.numel() for p in learner.model.parameters()
    ) - (learner.model.lm_head.weight.shape[0] - plan.shape.decoder.vocab_size)
    data = plan.stages["stage1"].data
    assert data is not None and data.longest == int(lengths.max()) + 1


def _best(height: int, width: int) -> list[int]:
    from transformers.image_processing_utils import select_best_resolution

    return list(select_best_resolution((height, width), PINPOINTS))


def test_a_long_record_keeps_the_pictures_whose_tokens_remain(
    recipe: Path, learner: Learner, tmp_path: Path
) -> None:
    turns = [
        {"from": "human", "value": "<image>"},
        {"from": "gpt", "value": "Yes."},
        {"from": "human", "value": "<image> or <image>?"},
        {"from": "gpt", "value": "No."},
    ]
    names = ["0.png", "3.png", "4.png"]
    record = {"id": "long", "image": names, "conversations": turns}
    (tmp_path / "long.json").write_text(json.dumps([record]))
    pictures = recipe.parent / "pictures"
    source = RecordSource((tmp_path / "long.json",), pictures)
    table = open_table((source,), tmp_path / "cache", seed=0)
    counts = [learner.encoding.views.image_tokens(pictures / name) for name in names]
    whole = len(RecordDataset(table, Encoder(learner.encoding, 10**6))[0].input_ids)
    ends = {whole: 3, whole - counts[2]: 2, counts[0] + 60: 1}
    for length, kept in ends.items():
        example = RecordDataset(table, Encoder(learner.encoding, length))[0]
        places = (example.input_ids == learner.encoding.image_token_id).sum()
        assert places == sum(counts[:kept])
        assert example.image_sizes is not None and len(example.image_sizes) == kept


def test_a_turned_picture_has_its_upright_size(tmp_path: Path) -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for name in ("a.jpg", "a.png"):
            Image.new("RGB", (31, 17)).save(tmp_path / name, exif=exif)
            assert picture_size(tmp_path / name) == load_picture(tmp_path / name).size[::-1]


def test_what_was_trained_is_transformers_and_the_runtimes(run: Path, tmp_path: Path) -> None:
    checkpoint = run / "run" / "stage2"
    model, report = LlavaNextForConditionalGeneration.from_pretrained(
        checkpoint, output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    first = LlavaNextForConditionalGeneration.from_pretrained(run / "run" / "stage1")
    fresh = build(load_recipe(run / "recipe.toml")).model.model.image_newline
    assert not torch.equal(first.model.image_newline, fresh)
    assert not torch.equal(first.model.image_newline, model.model.image_newline)
    processor = AutoProcessor.from_pretrained(checkpoint)
    assert type(processor) is LlavaNextProcessor
    export(checkpoint, tmp_path / "bundle", precision=EXACT)
    runtime = load(tmp_path / "bundle")
    for index in range(len(SHAPES)):
        picture = load_picture(run / "pictures" / f"{index}.png")
        inputs = processor(text="<image>", images=picture, return_tensors="pt")
        with torch.no_grad():
            rows = model.get_image_features(
                inputs["pixel_values"], inputs["image_sizes"]
            ).pooler_output[0]
        image = processor.image_token_id
        assert int((inputs["input_ids"] == image).sum()) == len(rows)
        ours = runtime.encode_image(picture).rows
        np.testing.assert_allclose(ours, rows.numpy(), rtol=0, atol=2e-4)


def test_an_adapter_folder_merges_with_its_newline(run: Path, tmp_path: Path) -> None:
    merge(run / "run" / "adapter", tmp_path / "merged", run / "language_model")
    ours, kept = (
        LlavaNextForConditionalGeneration.from_pretrained(folder)
        for folder in (tmp_path / "merged", run / "run" / "stage2")
    )
    assert torch.equal(ours.model.image_newline, kept.model.image_newline)


def test_features_are_kept_view_by_view(run: Path) -> None:
    header = json.loads((run / "run" / "features" / "features.json").read_text())
    views = dict(zip(header["pictures"], header["views"], strict=True))
    assert sorted(set(views.values())) == [3, 4, 5]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("image_grid_pinpoints = [[33, 50]]", "multiples of 33"),
        ("image_grid_pinpoints = [[33, 66, 99]]", "image_grid_pinpoints"),
        (
            'image_grid_pinpoints = [[33, 66]]\nvision_feature_select_strategy = "full"',
            "tiles do not fit together",
        ),
        ('image_grid_pinpoints = [[33, 66]]\nimage_mode = "pad"', "drop one"),
    ],
)
def test_tiles_that_do_not_fit_are_refused(
    line: str, sentence: str, recipe: Path, tmp_path: Path
) -> None:
    lines = recipe.read_text().splitlines()[1:]
    bad = recipe.parent / "bad.toml"
    bad.write_text("\n".join([line, *lines]))
    with pytest.raises(TrainingError, match=sentence):
        make_plan(load_recipe(bad))


def test_a_siglip_tower_has_tiles_as_transformers_joins_them(tmp_path: Path) -> None:
    recipe = write_parts(
        tmp_path,
        SiglipVisionConfig(**TOWER),
        LlamaConfig(**TEXT),
        vision_feature_select_strategy="full",
        image_grid_pinpoints=((30, 60), (60, 30)),
    )
    learner = build(recipe)
    Image.new("RGB", (70, 41), (20, 90, 160)).save(tmp_path / "wide.png")
    views, image = learner.encoding.views, learner.encoding.image_token_id
    ids = torch.tensor([[5, *[image] * views.image_tokens(tmp_path / "wide.png"), 7, 9]])
    given = {
        "input_ids": ids,
        "labels": ids.where(ids != image, -100),
        "attention_mask": torch.ones_like(ids),
        "pixel_values": views.pixels(tmp_path / "wide.png"),
        "image_sizes": torch.tensor([[41, 70]]),
    }
    with torch.no_grad():
        ours = AnswerLoss(learner.model).eval()(**given)["loss"]
        torch.testing.assert_close(ours, learner.model(**given).loss)
