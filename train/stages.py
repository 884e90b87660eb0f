"""A stage: which parts learn, at which rate; run by transformers' Trainer."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from peft.helpers import disable_input_dtype_casting
from torch import nn
from transformers import TrainerCallback, TrainingArguments

from llava_edge.train.attention import PACKED
from llava_edge.train.dataset import RecordDataset
from llava_edge.train.model import AnswerLoss, Learner, compute_dtype
from llava_edge.train.recipe import Recipe, Stage
from llava_edge.train.trainer import StageTrainer

WORKERS = 4  # processes that read pictures, where a GPU waits for them
LORA_MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def prepare(learner: Learner, stage: Stage) -> AnswerLoss:
    """Freeze and unfreeze the parts as the stage says, with adapters where it asks for them.

    What learns is held in fp32, what is frozen stays as it was read; both compute in the recipe's
    precision.
    """
    llava = learner.model
    llava.requires_grad_(False)
    if stage.projector_lr:
        _unfreeze(llava.model.multi_modal_projector)
    _set_attention(llava.model.language_model, stage)
    if stage.gradient_checkpointing:
        llava.model.language_model.gradient_checkpointing_enable({"use_reentrant": False})
    if stage.language_model_lr and stage.lora:
        lora = LoraConfig(
            r=stage.lora.rank,
            lora_alpha=stage.lora.alpha,
            lora_dropout=stage.lora.dropout,
            target_modules=LORA_MODULES,
        )
        llava.model.language_model = get_peft_model(llava.model.language_model, lora)
    elif stage.language_model_lr:
        _unfreeze(llava.model.language_model)
        _unfreeze(llava.lm_head)
    return AnswerLoss(llava)


def run(
    model: AnswerLoss,
    recipe: Recipe,
    stage: Stage,
    out: Path,
    train: RecordDataset,
    held_out: RecordDataset | None,
    callbacks: Sequence[TrainerCallback],
    *,
    resume: bool,
) -> StageTrainer:
    """Train one prepared stage on a dataset, its checkpoints under `out`."""
    arguments = _arguments(recipe, stage, out, evaluate=held_out is not None)
    trainer = StageTrainer(
        stage=stage,
        seed=recipe.seed,
        sharded=recipe.parallel == "fsdp" and arguments.world_size > 1,
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=held_out,
        callbacks=list(callbacks),
    )
    checkpoint = _last_checkpoint(out) if resume else None
    with disable_input_dtype_casting(model.llava):  # autocast casts the adapters instead
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return trainer


def _arguments(recipe: Recipe, stage: Stage, out: Path, *, evaluate: bool) -> TrainingArguments:
    devices = int(os.environ.get("WORLD_SIZE", "1"))  # as torchrun sets it
    records, accumulated = stage.split(devices)
    cuda = torch.cuda.is_available()
    return TrainingArguments(
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
        report_to=[],
        seed=recipe.seed,
        use_cpu=not cuda,
        dataloader_num_workers=WORKERS if cuda else 0,
        dataloader_pin_memory=cuda,
        ddp_find_unused_parameters=False,
    )


def _set_attention(language_model: nn.Module, stage: Stage) -> None:
    if stage.packing:
        language_model.set_attn_implementation(PACKED)
    elif not torch.cuda.is_available():
        # On a CPU torch's fused attention of padded rows made a step a fifth slower than products.
        language_model.set_attn_implementation("eager")


def _last_checkpoint(out: Path) -> Path | None:
    """The last one that was written to its end: Trainer writes its state last."""
    whole = [path for path in out.glob("checkpoint-*") if _is_whole(path)]
    return max(whole, key=lambda path: int(path.name.split("-")[1]), default=None)


def _is_whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    return True


def _unfreeze(part: nn.Module) -> None:
    part.float().requires_grad_(True)
