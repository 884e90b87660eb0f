"""A stage: which parts learn, at which rate; run by transformers' Trainer."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.helpers import disable_input_dtype_casting
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Sampler
from transformers import Trainer, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler

from llava_edge.errors import TrainingError
from llava_edge.records import load_records
from llava_edge.train.dataset import RecordDataset, collate
from llava_edge.train.model import AnswerLoss, Learner, compute_dtype
from llava_edge.train.recipe import Recipe, Stage

TRAINED = "trained.safetensors"  # of a Trainer's checkpoint: what learns in this stage, no more
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
    model: AnswerLoss, learner: Learner, recipe: Recipe, stage: Stage, out: Path, *, resume: bool
) -> list[dict[str, float]]:
    """Train one prepared stage, its checkpoints under `out`; returns the log, a row per report."""
    trainer = StageTrainer(
        stage=stage,
        model=model,
        args=_arguments(recipe, stage, out),
        data_collator=collate,
        train_dataset=RecordDataset(
            [record for source in stage.data for record in load_records(source)], learner.encoding
        ),
    )
    checkpoint = _last_checkpoint(out) if resume else None
    with disable_input_dtype_casting(model.llava):  # autocast casts the adapters instead
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return list(trainer.state.log_history)


class StageTrainer(Trainer):
    """transformers' Trainer with a rate per part, and checkpoints of only what learns."""

    def __init__(self, *, stage: Stage, **kwargs: Any) -> None:
        self._stage = stage
        super().__init__(**kwargs)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        llava = self.model.llava
        parts = (
            (llava.model.multi_modal_projector, self._stage.projector_lr),
            (llava.model.language_model, self._stage.language_model_lr),
            (llava.lm_head, self._stage.language_model_lr),
        )
        seen: set[Tensor] = set()  # a tied head is the embeddings' own tensor
        groups = []
        for part, rate in parts:
            group = [p for p in part.parameters() if p.requires_grad and p not in seen]
            seen.update(group)
            groups.append({"params": group, "lr": rate})
        self.optimizer = torch.optim.AdamW([g for g in groups if g["params"]], weight_decay=0.0)
        return self.optimizer

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        generator = torch.Generator().manual_seed(self.args.seed)
        lengths = self.train_dataset.lengths
        return LengthGroupedSampler(
            self.args.train_batch_size, lengths=lengths, generator=generator
        )

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        trained = {name: p.detach().cpu() for name, p in _trained(self.model)}
        save_file(trained, folder / TRAINED)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        saved = load_file(Path(resume_from_checkpoint) / TRAINED)
        own = dict(_trained(self.model))
        if saved.keys() != own.keys():
            raise TrainingError(
                f"{resume_from_checkpoint} was trained with other parts than the recipe says; "
                "train into another folder or take back the change."
            )
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(saved[name])


def _arguments(recipe: Recipe, stage: Stage, out: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(out),
        per_device_train_batch_size=stage.batch_size,
        num_train_epochs=stage.epochs,
        learning_rate=stage.language_model_lr or stage.projector_lr,
        lr_scheduler_type="cosine",
        warmup_steps=stage.warmup_ratio,  # a share of all steps, being below 1
        bf16=compute_dtype(recipe) == torch.bfloat16,
        logging_steps=stage.log_steps,
        save_steps=stage.save_steps,
        save_total_limit=2,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to=[],
        seed=recipe.seed,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def _last_checkpoint(out: Path) -> Path | None:
    """The last one that was written to its end: Trainer writes its state last."""
    whole = [path.parent for path in out.glob("checkpoint-*/trainer_state.json")]
    return max(whole, key=lambda path: int(path.name.split("-")[1]), default=None)


def _trained(model: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)


def _unfreeze(part: nn.Module) -> None:
    part.float().requires_grad_(True)
