"""A stage is run by transformers' Trainer: which parts learn, at which rate."""

import os
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from peft.helpers import disable_input_dtype_casting
from rich.console import Console
from torch import nn
from transformers import PreTrainedModel, TrainerCallback, TrainerState, TrainingArguments
from transformers.modeling_layers import GradientCheckpointingLayer

from llava_edge.train.engine.attention import PACKED, pack_attention
from llava_edge.train.engine.tower import prepare_tower
from llava_edge.train.engine.trainer import StageTrainer
from llava_edge.train.inputs.dataset import RecordDataset
from llava_edge.train.models.adapters import attach
from llava_edge.train.models.learner import AnswerLoss, Learner, compute_dtype
from llava_edge.train.models.llava_kind import newline_of
from llava_edge.train.recipe import Recipe, Stage
from llava_edge.train.watch.flops import peak_operations, training_cost
from llava_edge.train.watch.journal import Journal
from llava_edge.train.watch.stage_failures import StopOnNan, last_checkpoint, translate_errors
from llava_edge.train.watch.terminal_display import Display, silence
from llava_edge.train.watch.throughput import Throughput
from llava_edge.train.watch.trackers import trackers

WORKERS = 4  # processes that read pictures, where a GPU waits for them


def prepare_stage(learner: Learner, stage: Stage) -> AnswerLoss:
    """Freeze and unfreeze the parts as the stage says, with adapters where it asks for them.

    What learns is held in fp32, what is frozen stays as it was read; both compute in the recipe's
    precision.
    """
    llava = learner.model
    llava.requires_grad_(False)
    if stage.projector_lr:
        _unfreeze(llava.model.multi_modal_projector)
        if (newline := newline_of(llava)) is not None:
            newline.requires_grad_(True)
    prepare_tower(llava, stage)
    _set_attention(llava.model.language_model, stage)
    _set_checkpointing(llava.model.language_model, stage)
    if stage.language_model_lr and stage.lora:
        llava.model.language_model = attach(llava.model.language_model, stage.lora)
    elif stage.language_model_lr:
        _unfreeze(llava.model.language_model)
        _unfreeze(llava.lm_head)
    return AnswerLoss(llava)


def run_stage(
    model: AnswerLoss,
    recipe: Recipe,
    name: str,
    train: RecordDataset,
    held_out: RecordDataset | None,
    console: Console,
    *extra: TrainerCallback,
    resume: bool,
    **changes: Any,
) -> StageTrainer:
    """Train a prepared stage, with its checkpoints under `steps/`; reports are shown and kept.

    `changes` are passed to transformers' TrainingArguments. Raises TrainingError if something
    breaks.
    """
    stage, steps = recipe.stages[name], recipe.out / "steps" / name
    given = _arguments(recipe, stage, steps, evaluate=held_out is not None)
    arguments = TrainingArguments(**{**given, **changes})
    _use_one_gpu(arguments, console)
    cost = training_cost(model.llava, train.image_size, cached=train.cached)
    peak = peak_operations(arguments.device, compute_dtype(recipe))
    throughput = Throughput(cost, peak, arguments.world_size)
    stop_on_nan = StopOnNan(name, steps)
    with (
        translate_errors(name, steps),
        closing(Journal(name, recipe.out)) as journal,
        closing(Display(name, console)) as display,
        trackers(recipe.report_to) as tracked,
        disable_input_dtype_casting(model.llava),  # autocast casts the adapters instead
    ):
        trainer = StageTrainer(
            stage=stage,
            seed=recipe.seed,
            sharded=recipe.sharded(arguments.world_size),
            throughput=throughput,
            stop_on_nan=stop_on_nan,
            model=model,
            args=arguments,
            train_dataset=train,
            eval_dataset=held_out,
            # The trackers come after throughput, which Trainer's own report_to would not do.
            callbacks=[
                *(_RecipesIntervals(), throughput, stop_on_nan, journal, display),
                *tracked,
                *extra,
            ],
        )
        silence(trainer)
        checkpoint = last_checkpoint(steps) if resume else None
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return trainer


class _RecipesIntervals(TrainerCallback):
    """Makes a resumed run save and report as often as its recipe says, not its checkpoint."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: Any, **kwargs: Any
    ) -> None:
        state.compute_steps(args, state.max_steps)


def _use_one_gpu(arguments: TrainingArguments, console: Console) -> None:
    """Trainer would split a packed row over all GPUs, as if its tokens were so many rows."""
    if arguments.n_gpu > 1:
        console.print(
            f"One of {arguments.n_gpu} GPUs is used; all are by torchrun --nproc-per-node "
            f"{arguments.n_gpu} -m llava_edge train"
        )
        arguments._n_gpu = 1


def _arguments(recipe: Recipe, stage: Stage, out: Path, *, evaluate: bool) -> dict[str, Any]:
    devices = int(os.environ.get("WORLD_SIZE", "1"))  # as torchrun sets it
    records, accumulated = stage.split(devices)
    cuda = torch.cuda.is_available()
    return dict(
        output_dir=str(out),
        per_device_train_batch_size=records,
        gradient_accumulation_steps=accumulated,
        num_train_epochs=1,  # the batches are of the whole stage
        learning_rate=stage.language_model_lr or stage.projector_lr,
        lr_scheduler_type="cosine",
        warmup_steps=stage.warmup_ratio,  # a share of all steps, being below 1
        bf16=compute_dtype(recipe) == torch.bfloat16,
        logging_steps=stage.log_steps,
        save_steps=stage.save_steps,
        save_total_limit=2,
        eval_strategy="steps" if evaluate else "no",
        eval_steps=stage.eval_steps,
        remove_unused_columns=False,
        label_names=["labels"],
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=[],
        project=recipe.name,
        run_name=f"{recipe.out.name}-{out.name}",
        seed=recipe.seed,
        use_cpu=not cuda,
        dataloader_num_workers=WORKERS if cuda else 0,
        dataloader_pin_memory=cuda,
        ddp_find_unused_parameters=False,
    )


def _set_attention(language_model: PreTrainedModel, stage: Stage) -> None:
    if stage.packing:
        pack_attention(language_model)
    elif not torch.cuda.is_available():
        # On a CPU torch's fused attention of padded rows made a step a fifth slower than products.
        language_model.set_attn_implementation("eager")
    elif language_model.config._attn_implementation == PACKED:  # of the stage before
        language_model.set_attn_implementation("sdpa")


def _set_checkpointing(language_model: PreTrainedModel, stage: Stage) -> None:
    """Checkpoint all layers or the first ones, which are computed again when the rest is freed."""
    wanted = stage.gradient_checkpointing
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of their new names
        if not wanted:  # as the stage before may have had it
            language_model.gradient_checkpointing_disable()
            return
        language_model.gradient_checkpointing_enable({"use_reentrant": False})
    if wanted is not True:
        parts = language_model.modules()
        layers = [part for part in parts if isinstance(part, GradientCheckpointingLayer)]
        for layer in layers[wanted:]:
            layer.gradient_checkpointing = False


def _unfreeze(part: nn.Module) -> None:
    part.float().requires_grad_(True)
