"""The plan's memory against what torch allocates in a step of a real run, by its profiler."""

import json
from pathlib import Path
from typing import Any

import pytest
from allocations import AllocationPeak
from rich.console import Console
from tiny_learner import CLIP, write_parts
from tiny_training import write_records
from torch import Tensor
from transformers import LlamaConfig, TrainerCallback

from llava_edge.data.record_table import open_table
from llava_edge.data.records import RecordSource
from llava_edge.train.engine.run_stage import prepare_stage, run_stage
from llava_edge.train.inputs.dataset import RecordDataset
from llava_edge.train.inputs.labels import IGNORE_INDEX
from llava_edge.train.inputs.record_encoder import Encoder
from llava_edge.train.models.learner import build
from llava_edge.train.planning.memory_estimate import Batch
from llava_edge.train.planning.model_shape import model_shape
from llava_edge.train.planning.plan import stage_memory
from llava_edge.train.recipe import Lora, Recipe, Stage

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of libraries
LLAMA = LlamaConfig(
    hidden_size=256,
    intermediate_size=688,
    num_hidden_layers=6,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=4001,
    max_position_embeddings=1024,
)
FULL = {"language_model_lr": 1e-3}
ADAPTERS = {**FULL, "lora": Lora(rank=16, alpha=16)}
STAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "frozen, all layers again": ("bf16", {"gradient_checkpointing": True}),
    "adapters": ("fp32", ADAPTERS),
    "adapters, all layers again": ("bf16", {**ADAPTERS, "gradient_checkpointing": True}),
    "in full": ("fp32", FULL),
    "in full, cast": ("bf16", FULL),
    "in full, cast, half of the layers again": ("bf16", {**FULL, "gradient_checkpointing": 3}),
}


class Peak(TrainerCallback):
    """The most bytes in the second step, in which the optimizer has its states."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1:
            values = [v for each in kwargs["optimizer"].state.values() for v in each.values()]
            kept = [*kwargs["model"].parameters(), *kwargs["model"].buffers(), *values]
            storages = [each.untyped_storage() for each in kept if isinstance(each, Tensor)]
            self._kept = sum({each.data_ptr(): each.nbytes() for each in storages}.values())
            self._peak = AllocationPeak().__enter__()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 2:
            self._peak.__exit__()
            self.bytes = self._kept + self._peak.bytes


@pytest.mark.parametrize(("precision", "settings"), STAGES.values(), ids=STAGES)
def test_a_step_takes_what_is_planned(
    precision: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    """Of a step in two micro-batches, so that gradients are there while the second is computed."""
    recipe, stage = write(tmp_path, precision, settings)
    learner = build(recipe)
    table = open_table(stage.data, recipe.out / "tables", recipe.seed)
    data = RecordDataset(table, Encoder.of_stage(learner.encoding, recipe, stage))
    model, peak, console = prepare_stage(learner, stage), Peak(), Console(quiet=True)
    run_stage(model, recipe, "stage2", data, None, console, peak, resume=False, save_strategy="no")
    labelled = int((data[0].labels[1:] != IGNORE_INDEX).sum())
    batch = Batch(4, len(data[0].input_ids), labelled)
    planned = stage_memory(recipe, model_shape(recipe), stage, batch, devices=1)
    assert planned.total == pytest.approx(peak.bytes, rel=0.1)


def write(folder: Path, precision: str, settings: dict[str, Any]) -> tuple[Recipe, Stage]:
    """A recipe of a small model and 16 records as long as each other."""
    write_records(folder)
    turns = [
        {"from": "human", "value": "<image>\nWhat is in the picture?"},
        {"from": "gpt", "value": "cat " * 150},
    ]
    record = {"id": "cats", "image": "0.png", "conversations": turns}
    (folder / "records.json").write_text(json.dumps([record] * 16))
    sources = (RecordSource((folder / "records.json",), folder / "pictures"),)
    stage = Stage(sources, 1e-3, batch_size=8, device_batch_size=4, **settings)
    parts: dict[str, Any] = {"stage1": None, "stage2": stage, "projector_weights": folder}
    recipe = write_parts(folder, CLIP, LLAMA, precision=precision, **parts)
    recipe.out.mkdir()
    return recipe, stage
