"""A tiny stage that is watched as a run is: counted, shown, written down and guarded."""

from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor, nn
from transformers import TrainerCallback, TrainingArguments

from llava_edge.records import load_records
from llava_edge.train import stages
from llava_edge.train.dataset import IGNORE_INDEX, RecordDataset, collate
from llava_edge.train.flops import training_cost
from llava_edge.train.guards import Guard, explained, last_checkpoint, watch_for_stalls
from llava_edge.train.journal import Journal
from llava_edge.train.model import build
from llava_edge.train.progress import Display, silence
from llava_edge.train.recipe import load_recipe
from llava_edge.train.throughput import Throughput

PEAK = 1e12  # operations a second


class WatchedTrainer(stages.StageTrainer):
    """Says what each micro batch holds and has its loss checked."""

    def __init__(self, *, throughput: Throughput, guard: Guard, **kwargs: Any) -> None:
        self._throughput, self._guard = throughput, guard
        super().__init__(**kwargs)

    def training_step(
        self, model: nn.Module, inputs: dict[str, Tensor], num_items_in_batch: Any = None
    ) -> Tensor:
        labels = int((inputs["labels"][:, 1:] != IGNORE_INDEX).sum())
        images = len(inputs.get("pixel_values", ()))
        self._throughput.add(inputs["attention_mask"].sum(1).tolist(), labels, images)
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        self._guard.check_loss(loss, self.state.global_step + 1, ["some", "records"])
        return loss


def run_stage(
    recipe_path: Path,
    *extra: TrainerCallback,
    console: Console | None = None,
    name: str = "stage1",
    dataset: type[RecordDataset] = RecordDataset,
    timeout: int = 600,
    **changes: Any,
) -> WatchedTrainer:
    """Train a recipe's stage 1, going on from its last checkpoint; returns the trainer."""
    recipe = load_recipe(recipe_path)
    learner, stage = build(recipe), recipe.stages[name]
    model = stages.prepare(learner, stage)
    records = load_records(stage.data[0])
    steps = recipe.out / "steps" / name
    throughput = Throughput(training_cost(learner.model), PEAK)
    guard = Guard(name, steps)
    given = stages._arguments(recipe, stage, steps).to_dict()
    args = TrainingArguments(**{**given, "disable_tqdm": True, **changes})
    with (
        explained(name, steps),
        closing(Journal(name, recipe.out)) as journal,
        closing(Display(name, console or Console(quiet=True))) as display,
    ):
        trainer = WatchedTrainer(
            throughput=throughput,
            guard=guard,
            stage=stage,
            model=model,
            args=args,
            data_collator=collate,
            train_dataset=dataset(records, learner.encoding),
            eval_dataset=RecordDataset(records, learner.encoding),
            callbacks=[throughput, guard, journal, display, *extra],
        )
        silence(trainer)
        loader = trainer.get_train_dataloader()
        watch_for_stalls(loader, timeout)
        trainer.get_train_dataloader = lambda: loader
        checkpoint = last_checkpoint(steps)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return trainer
