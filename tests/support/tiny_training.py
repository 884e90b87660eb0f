"""A tiny recipe with everything that it names: tower, language model, records and pictures."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from tiny import Tiny, llava, randomize, text_config, tokenizer
from transformers import LlamaForCausalLM

from llava_edge.data.record_table import open_table
from llava_edge.train.inputs.dataset import RecordDataset
from llava_edge.train.inputs.labels import Encoding
from llava_edge.train.inputs.record_encoder import Encoder
from llava_edge.train.recipe import load_recipe

RECIPE = """
out = "run"
vision_tower = "tower"
language_model = "language_model"
prompt = "chatml"
precision = "fp32"
{header}

[stage1]
projector_lr = 1e-2
batch_size = 2
save_steps = 2
log_steps = 1
data = {{ records = ["records.json"], images = "pictures" }}

[stage2]
projector_lr = 1e-3
language_model_lr = 1e-2
batch_size = 3
save_steps = 2
log_steps = 1
data = {{ records = ["records.json"], images = "pictures" }}
{lora}
"""
LORA = "lora = { rank = 4, alpha = 8 }"
EFFICIENTNET_HEADER = 'vision_feature_layer = -1\nvision_feature_select_strategy = "full"'
WARM_START = """
[warm_start]
epochs = 3
batch_size = 7
data = { records = ["records.json"], images = "pictures" }
"""
COLOURS = {"cat": (200, 30, 30), "dog": (30, 30, 200)}


def write_recipe(
    folder: Path,
    *,
    tower: str = "clip",
    lora: bool = False,
    warm_start: bool = False,
    tied: bool = False,
) -> Path:
    """Write a recipe and all its inputs to an empty folder; returns the recipe's path."""
    tiny = Tiny(tower="clip" if tower == "clip" else "efficientnet_lite", tied=tied)
    llava(tiny).model.vision_tower.save_pretrained(folder / "tower")
    language_model = LlamaForCausalLM(text_config(tiny))
    randomize(language_model)
    language_model.save_pretrained(folder / "language_model")
    tokenizer().save(str(folder / "language_model" / "tokenizer.json"))
    write_records(folder)
    text = RECIPE.format(
        header="" if tower == "clip" else EFFICIENTNET_HEADER, lora=LORA if lora else ""
    )
    path = folder / "recipe.toml"
    path.write_text(text + (WARM_START if warm_start else ""))
    return path


def write_records(folder: Path) -> None:
    """Six records about pictures of a coloured square, and one without a picture."""
    (folder / "pictures").mkdir()
    random = np.random.default_rng(0)
    records = []
    for index in range(6):
        name = ("cat", "dog")[index % 2]
        pixels = random.integers(90, 110, (40, 60, 3), dtype=np.uint8)
        pixels[10:35, 5:40] = COLOURS[name]
        Image.fromarray(pixels).save(folder / "pictures" / f"{index}.png")
        records.append(
            {
                "id": f"picture-{index}",
                "image": f"{index}.png",
                "conversations": [
                    {"from": "human", "value": "<image>\nWhat is in the picture?"},
                    {"from": "gpt", "value": f"There is a {name} on the table."},
                    {"from": "human", "value": "Is there an apple?"},
                    {"from": "gpt", "value": "No."},
                ],
                "objects": [{"name": name, "box": [0.08, 0.25, 0.67, 0.88]}],
            }
        )
    words = [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Good day, à côté."}]
    records.append({"id": "words", "conversations": words})
    (folder / "records.json").write_text(json.dumps(records))


def dataset(folder: Path, encoding: Encoding, stage: str = "stage1") -> RecordDataset:
    """A stage's records of the recipe in the folder, as its run reads them."""
    recipe = load_recipe(folder / "recipe.toml")
    table = open_table(recipe.stages[stage].data, folder / "cache", recipe.seed)
    return RecordDataset(table, Encoder.of_stage(encoding, recipe, recipe.stages[stage]))
