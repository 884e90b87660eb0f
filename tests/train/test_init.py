"""A run continues a LLaVA in any form: it begins as transformers computes it, and ends as one."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llava_forms import FORMS, write_huggingface, write_lora, write_original
from safetensors.torch import load_file, save_file
from saved_checkpoints import logits
from tiled_training import SHAPES, write_shapes
from tiny import Tiny, write_llava
from tiny_learner import inputs
from tiny_training import dataset, write_records
from transformers import AutoProcessor, LlavaForConditionalGeneration

from llava_edge.core.picture import load_picture, preprocess
from llava_edge.core.prompt import Text, WrittenMessage, render
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.data.record_table import open_table
from llava_edge.errors import TrainingError
from llava_edge.export.layouts.checkpoint import Checkpoint, open_checkpoint
from llava_edge.train.inputs.dataset import pad
from llava_edge.train.inputs.record_encoder import Encoder
from llava_edge.train.models.language_model import load_language_model
from llava_edge.train.models.language_weights import language_weights
from llava_edge.train.models.learner import AnswerLoss, Learner, build
from llava_edge.train.planning.plan import make_plan
from llava_edge.train.recipe import load_recipe
from llava_edge.train.resolve_models import resolve_models
from llava_edge.train.train import train

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft's making
STAGE = """
projector_lr = 1e-3
batch_size = 3
log_steps = 1
data = { records = ["records.json"], images = "pictures" }
"""


FULL = "language_model_lr = 1e-3"
LORA = f"{FULL}\nlora = {{ rank = 2 }}"
TURNS = (
    WrittenMessage("user", "<image>\nA cat?"),
    WrittenMessage("assistant", "No."),
    WrittenMessage("user", "Why?"),
)


def write_recipe(
    folder: Path, form: dict[str, Any], stage: str = "stage2", extra: str = FULL
) -> Path:
    """A recipe that continues the form in the folder, and its records."""
    write_records(folder)
    named = ", ".join(f'{key} = "{form[key]}"' for key in ("checkpoint", "base") if key in form)
    path = folder / "recipe.toml"
    head = f'out = "run"\ninit = {{ {named} }}\nprecision = "fp32"\n'
    path.write_text(f"{head}[{stage}]{STAGE}{extra}")
    return path


def learner_of(recipe: Path) -> Learner:
    return build(resolve_models(load_recipe(recipe)))


def open_form(folder: Path, form: dict[str, Any]) -> Checkpoint:
    base = folder / form["base"] if "base" in form else None
    return open_checkpoint(folder / form["checkpoint"], base=base)


def same_tensors(first: Checkpoint, second: Checkpoint, begin: str = "") -> bool:
    names = [name for name in first.tensors if name.startswith(begin)]
    assert names and names == [name for name in second.tensors if name.startswith(begin)]
    return all(
        np.array_equal(first.tensors[name].read(), second.tensors[name].read()) for name in names
    )


@pytest.fixture(scope="module", params=FORMS)
def begun(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A form's folder, with a recipe that continues it through adapters."""
    folder = tmp_path_factory.mktemp("form")
    form = FORMS[request.param](folder)
    write_recipe(folder, form, extra=LORA)
    return folder, form


def test_it_begins_with_what_transformers_computes(begun: tuple[Path, dict[str, Any]]) -> None:
    folder, form = begun
    learner = learner_of(folder / "recipe.toml")
    batch = inputs(learner)
    form["model"].config.image_token_index = learner.encoding.image_token_id
    expected = logits(form["model"], batch)
    assert learner.model.dtype == torch.float32
    torch.testing.assert_close(logits(learner.model, batch), expected, atol=2e-5, rtol=1e-5)
    # No rows beside those that the vocabulary had.
    rows = learner.model.get_input_embeddings().weight.shape
    assert rows == form["model"].get_input_embeddings().weight.shape


def test_what_it_ends_with_is_read_as_what_it_began_with(
    begun: tuple[Path, dict[str, Any]],
) -> None:
    folder, form = begun
    saved = train(folder / "recipe.toml")
    before, after = open_form(folder, form), open_checkpoint(saved)
    assert (after.prompt, after.image) == (before.prompt, before.image)
    assert after.config.text == before.config.text
    assert after.config.tower == before.config.tower
    ids = [render(TURNS, each.prompt, Tokenizer(each.tokenizer)) for each in (before, after)]
    assert ids[0] == ids[1]
    assert same_tensors(before, after, "vision_tower.") or "bf16" in str(form)
    assert not same_tensors(before, after, "language_model.")
    assert not same_tensors(before, after, "multi_modal_projector.")
    # The adapter on its base is the same again.
    joined = folder / "run" / "init"
    base = joined if joined.exists() else folder / "llava"
    alone = open_checkpoint(folder / "run" / "adapter", base=base)
    assert alone.config == after.config
    for name, tensor in after.tensors.items():
        np.testing.assert_allclose(alone.tensors[name].read(), tensor.read(), atol=1e-6)


@pytest.mark.parametrize("init", ["run/stage2", "run/adapter"])
def test_transformers_computes_the_loss_of_a_run_that_is_continued(
    init: str, tmp_path: Path
) -> None:
    """From our own checkpoint: its processor's pixels and its own loss are the learner's."""
    recipe = write_recipe(tmp_path, write_original(tmp_path), extra=LORA)
    saved = train(recipe)
    base = f"init.base={tmp_path / 'run' / 'init'}"
    overrides = [f"init={tmp_path / init}", *([base] if "adapter" in init else []), "out=again"]
    again = load_recipe(recipe, overrides)
    learner = build(resolve_models(again))
    model = LlavaForConditionalGeneration.from_pretrained(saved).eval()
    encoder = Encoder.of_stage(learner.encoding, again, again.stages["stage2"])
    record = open_table(again.stages["stage2"].data, tmp_path / "cache", 0)[0]
    ids, labels = encoder(record, 0)
    picture = load_picture(tmp_path / "pictures" / "0.png")
    pixels = torch.tensor(preprocess(picture, learner.encoding.image)[None])
    processor = AutoProcessor.from_pretrained(saved)
    theirs = processor.image_processor(picture, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixels, theirs, atol=0.02, rtol=0)  # a grey level, at most
    batch = {
        "input_ids": torch.tensor([ids]),
        "labels": torch.tensor([labels]),
        "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
        "pixel_values": pixels,
    }
    with torch.no_grad():
        loss = AnswerLoss(learner.model).eval()(**batch)["loss"]
        expected = model(**batch).loss
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)


def test_a_llava_next_is_continued(tmp_path: Path) -> None:
    """With its own newline and tiles: the loss before the first step is transformers'."""
    (tmp_path / "llava").mkdir()
    model = write_llava(tmp_path / "llava", Tiny(tiles=True))
    recipe = write_recipe(tmp_path, {"checkpoint": "llava"})
    write_shapes(tmp_path / "pictures")
    learner = learner_of(recipe)
    records = dataset(tmp_path, learner.encoding, "stage2")
    batch = pad([records[index] for index in range(len(records))])
    batch = {name: part for name, part in batch.items() if name not in ("records", "lengths")}
    assert len(batch["pixel_values"]) > len(batch["image_sizes"]) == len(SHAPES)
    with torch.no_grad():
        loss = AnswerLoss(learner.model).eval()(**batch)["loss"]
        expected = model(**batch).loss
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    plan = make_plan(load_recipe(recipe))
    assert plan.shape is not None
    assert plan.shape.parameters == sum(each.numel() for each in model.parameters())
    before, after = open_checkpoint(tmp_path / "llava"), open_checkpoint(train(recipe))
    assert (after.prompt, after.image) == (before.prompt, before.image)
    assert after.config.grid_pinpoints == before.config.grid_pinpoints
    assert not same_tensors(before, after, "image_newline")


def test_the_chat_template_goes_along_unless_another_prompt_is_trained(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, write_huggingface(tmp_path))
    saved = train(recipe)
    template = (tmp_path / "llava" / "chat_template.jinja").read_text()
    assert (saved / "chat_template.jinja").read_text() == template
    assert open_checkpoint(saved).prompt == open_checkpoint(tmp_path / "llava").prompt
    saved = train(recipe, ["prompt=qwen", f"out={tmp_path / 'other'}"])
    assert "You are a helpful assistant." in (saved / "chat_template.jinja").read_text()
    assert open_checkpoint(saved).prompt.name == "qwen"


def test_a_prompt_format_of_no_known_name_is_kept_piece_by_piece(tmp_path: Path) -> None:
    form = write_huggingface(tmp_path)
    before = open_form(tmp_path, form)
    own = replace(before.prompt, name="own", user_prefix="<|im_start|>Q: ", turn_separator="~")
    path = tmp_path / "llava" / "config.json"
    values = json.loads(path.read_text())
    values["llava_edge"] = {"name": "tiny", "prompt": vars(own)}
    path.write_text(json.dumps(values))
    recipe = write_recipe(tmp_path, form)
    assert learner_of(recipe).encoding.prompt == own
    saved = open_checkpoint(train(recipe))
    assert saved.prompt == own
    first = render(TURNS, saved.prompt, Tokenizer(saved.tokenizer))[0]
    assert isinstance(first, Text)
    assert saved.tokenizer.decode(list(first.ids)).startswith("Q: ")


def test_special_tokens_and_the_tower_are_kept_whole(tmp_path: Path) -> None:
    form = write_huggingface(tmp_path)
    path = tmp_path / "llava" / "config.json"
    values = json.loads(path.read_text())
    values["eos_token_id"] = 4
    values["text_config"]["eos_token_id"] = [2, 5]
    path.write_text(json.dumps(values))
    saved = train(write_recipe(tmp_path, form, stage="stage1", extra=""))
    after = json.loads((saved / "config.json").read_text())
    assert (after["eos_token_id"], after["text_config"]["eos_token_id"]) == (4, [2, 5])
    before, after = (
        LlavaForConditionalGeneration.from_pretrained(folder).state_dict()
        for folder in (tmp_path / "llava", saved)
    )
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    # The projector alone; of the tower also the layers that no row passes are as they were.
    assert changed == {name for name in before if "multi_modal_projector" in name}


def test_four_bits_are_held_but_full_weights_saved(tmp_path: Path) -> None:
    (tmp_path / "llava").mkdir()
    write_llava(tmp_path / "llava", Tiny(text_size=384, text_inner=192))
    form = {"checkpoint": "llava"}
    recipe = write_recipe(tmp_path, form, stage="stage1", extra='quantize = "nf4"')
    saved = open_checkpoint(train(recipe))
    assert same_tensors(open_form(tmp_path, form), saved, "language_model.")


def test_weights_are_held_once(tmp_path: Path) -> None:
    checkpoint = open_form(tmp_path, write_huggingface(tmp_path))
    text, dtype = checkpoint.config.text, torch.float32
    weights = language_weights("tiny", text, checkpoint.file, checkpoint.tensors, dtype)
    model = load_language_model(weights, dtype)
    held = {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    assert held == {name: tensor.data_ptr() for name, tensor in weights.state.items()}


def test_the_plan_counts_the_model_that_is_built(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, write_lora(tmp_path))
    plan = make_plan(load_recipe(recipe))
    assert plan.shape is not None
    model = learner_of(recipe).model
    assert plan.shape.parameters == sum(each.numel() for each in model.parameters())
    assert plan.shape.tower.image_tokens == model.config.image_seq_length


def test_the_plan_waits_for_a_checkpoint_of_the_hub(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, {"checkpoint": "org/name"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        plan = make_plan(load_recipe(recipe))
    assert plan.shape is None
    assert plan.needed == ("org/name (of the hub)",)


def test_the_run_says_what_it_began_with(tmp_path: Path) -> None:
    form = write_lora(tmp_path)
    recipe = write_recipe(tmp_path, form)
    saved = train(recipe)
    init = json.loads((saved / "run.json").read_text())["init"]
    files = [tmp_path / "llava/adapter_model.safetensors", tmp_path / "base/model.safetensors"]
    sums = [sha256(file.read_bytes()).hexdigest() for file in files]
    assert [weights["sha256"] for weights in init["weights"]] == sums
    assert init["checkpoint"] == "llava"
    files[0].write_bytes(files[1].read_bytes())
    with pytest.raises(TrainingError):
        train(recipe, ["init=base"], resume=True)
    (tmp_path / "other").mkdir()
    write_llava(tmp_path / "other", Tiny(seed=1))
    with pytest.raises(TrainingError, match="another checkpoint as init"):
        train(recipe, [f'init={{ checkpoint = "{tmp_path / "other"}" }}'], resume=True)


REFUSED = {
    "vision_tower=tower": "vision_tower does not go with init",
    "language_model=words": "language_model does not go with init",
    "projector=linear": "projector does not go with init",
    "image_mode=pad": "image_mode does not go with init",
    "image_grid_pinpoints=[[33,66]]": "image_grid_pinpoints does not go with init",
    "warm_start.epochs=1": "warm_start does not go with init",
    "projector_weights=a.bin": "projector_weights does not go with init",
    "init.tower=x": r"init\.tower is not known",
    "init.checkpoint=nowhere": "nowhere, which does not exist",
    "init.base=llava": "llava holds a language model of its own",
    "prompt=vicuna_v1": "needs the token <s>",
    "out=.": "init lies in out",
}


@pytest.fixture(scope="module")
def plain_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refused")
    return write_recipe(folder, write_huggingface(folder))


@pytest.mark.parametrize("override", REFUSED)
def test_what_contradicts_it_is_refused(
    plain_recipe: Path, override: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(plain_recipe.parent)
    with pytest.raises(TrainingError, match=REFUSED[override]):
        train("recipe.toml", [override])
    assert not (plain_recipe.parent / "run").exists()


def write_gptq(folder: Path) -> None:
    """A LLaVA of which one layer is packed in 4 bits, each value the middle one."""
    (folder / "llava").mkdir()
    write_llava(folder / "llava")
    file = folder / "llava" / "model.safetensors"
    layer = "language_model.model.layers.0.self_attn.k_proj"
    tensors = load_file(file)
    rows, columns = tensors.pop(f"{layer}.weight").shape
    packed = {
        "qweight": torch.full((columns // 8, rows), 0x77777777, dtype=torch.int32),
        "qzeros": torch.full((columns // 32, rows // 8), 0x77777777, dtype=torch.int32),
        "scales": torch.ones(columns // 32, rows, dtype=torch.float16),
        "g_idx": torch.arange(columns, dtype=torch.int32) // 32,
    }
    save_file({**tensors, **{f"{layer}.{part}": t for part, t in packed.items()}}, file)
    path = folder / "llava" / "config.json"
    gptq = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": True}
    path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": gptq}))


def other(tiny: Tiny) -> Any:
    def write(folder: Path) -> None:
        (folder / "llava").mkdir()
        write_llava(folder / "llava", tiny)

    return write


UNTRAINABLE = {
    "layers": (other(Tiny(feature_layer=(-2, 1))), "joins several layers"),
    "quantized": (write_gptq, "is quantized already"),
}


@pytest.mark.parametrize("kind", UNTRAINABLE)
def test_what_training_cannot_continue_is_refused(kind: str, tmp_path: Path) -> None:
    write, said = UNTRAINABLE[kind]
    write(tmp_path)
    recipe = write_recipe(tmp_path, {"checkpoint": "llava"})
    for call in (train, lambda path: make_plan(load_recipe(path))):
        with pytest.raises(TrainingError, match=said):
            call(recipe)
    assert not (tmp_path / "run").exists()
