"""What is compared: llava-edge's stage, and a plain Trainer as in transformers' guides."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llava_edge.bench.training.given import Given

if TYPE_CHECKING:
    from llava_edge.train.inputs.dataset import Example

PaddedBatch = dict[str, Any]

OPTIMIZERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_bnb_8bit"}  # Trainer's names


@dataclass(frozen=True)
class TrainingCandidate:
    """A model that takes batches, how records become a batch, and what trains it."""

    model: Any  # a torch module: batch -> {"loss"}
    collate: Callable[[Sequence["Example"]], PaddedBatch]
    train: Callable[[], object]


def ours(given: Given) -> TrainingCandidate:
    """The stage as `llava-edge train` runs it; nothing is saved."""
    from rich.console import Console

    from llava_edge.train.engine.run_stage import run_stage
    from llava_edge.train.inputs.dataset import pack, pad

    def train() -> None:
        run_stage(
            given.model,
            given.recipe,
            given.stage_name,
            given.data,
            None,
            Console(quiet=True),
            resume=False,
            save_strategy="no",
            logging_strategy="no",
        )

    return TrainingCandidate(given.model, pack if given.stage.packing else pad, train)


def plain(given: Given) -> TrainingCandidate:
    """Stock model, loss, attention, sampler and optimizer; the same parts learn.

    Batches are padded on the right to their longest record, and the tower runs in each step.
    """
    import torch
    from transformers import Trainer, TrainingArguments

    from llava_edge.train.engine.run_stage import WORKERS
    from llava_edge.train.models.learner import compute_dtype

    stage, llava, cuda = given.stage, given.model.llava, torch.cuda.is_available()
    llava.model.language_model.set_attn_implementation("sdpa")  # as from_pretrained gives it
    records, accumulated = stage.split(1)
    arguments = TrainingArguments(
        output_dir=str(given.recipe.out),
        per_device_train_batch_size=records,
        gradient_accumulation_steps=accumulated,
        num_train_epochs=stage.epochs,
        learning_rate=stage.language_model_lr or stage.projector_lr,
        optim=OPTIMIZERS[stage.optimizer],
        lr_scheduler_type="cosine",
        warmup_steps=stage.warmup_ratio,
        bf16=compute_dtype(given.recipe) == torch.bfloat16,
        seed=given.recipe.seed,
        use_cpu=not cuda,
        dataloader_num_workers=WORKERS if cuda else 0,  # as llava-edge's
        remove_unused_columns=False,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    trainer = Trainer(llava, arguments, train_dataset=given.data, data_collator=_pad)
    return TrainingCandidate(llava, _pad, trainer.train)


def _pad(examples: Sequence["Example"]) -> PaddedBatch:
    """Ids, labels and mask [B, S], and the pictures' pixels [n, 3, H, W]."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    ids = [example.input_ids for example in examples]
    mask = [torch.ones_like(row) for row in ids]
    batch = {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=0),
        "attention_mask": pad_sequence(mask, batch_first=True, padding_value=0),
        "labels": pad_sequence(
            [example.labels for example in examples], batch_first=True, padding_value=-100
        ),
    }
    pixels = [example.pixel_values for example in examples if example.pixel_values is not None]
    sizes = [example.image_sizes for example in examples if example.image_sizes is not None]
    found = {"pixel_values": pixels, "image_sizes": sizes}
    return batch | {name: torch.cat(parts) for name, parts in found.items() if parts}
