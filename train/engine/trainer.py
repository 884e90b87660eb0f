"""StageTrainer: transformers' Trainer with a rate per part, and our own batches and checkpoints.

It overrides methods of Trainer as they are in transformers 5.23, private ones among them; each says
why. tests/train/engine/test_trainer.py fails if one of them changes.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import AutocastKwargs
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerControl

from llava_edge.core.files import open_to_others
from llava_edge.errors import TrainingError
from llava_edge.train.engine import sharding
from llava_edge.train.inputs.batches import Devices, StageBatches, in_order
from llava_edge.train.inputs.dataset import RecordDataset, pack, pad
from llava_edge.train.inputs.labels import IGNORE_INDEX
from llava_edge.train.models.llava_kind import newline_of
from llava_edge.train.recipe import Stage
from llava_edge.train.watch.stage_failures import StopOnNan, watch_for_stalls
from llava_edge.train.watch.throughput import Throughput

TRAINED = "trained.safetensors"  # of a Trainer's checkpoint: what learns in this stage, no more
OPTIMIZER = "optimizer.pt"


class StageTrainer(Trainer):
    """Trains an AnswerLoss on a RecordDataset; `sharded` spreads every layer over the processes."""

    control: TrainerControl  # which mypy does not find in Trainer

    def __init__(
        self,
        *,
        stage: Stage,
        seed: int,
        sharded: bool,
        throughput: Throughput,
        stop_on_nan: StopOnNan,
        **kwargs: Any,
    ) -> None:
        self._stage = stage
        self._seed = seed
        self._throughput = throughput
        self._stop_on_nan = stop_on_nan
        self._sharded = sharded
        super().__init__(**kwargs)
        # Each weight is used once a forward; a cache would hold the casts of all until its end.
        self.accelerator.autocast_handler = AutocastKwargs(cache_enabled=False)
        # Trainer then has accelerate wrap no model whose shards are our own.
        self.is_distributed_loading_by_transformers = sharded
        if sharded:
            dtype = torch.bfloat16 if self.args.bf16 else torch.float32
            sharding.shard(self.model, _layers(self.model), self.args.device, dtype)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW with a group for each part that learns, since Trainer knows one learning rate."""
        llava = self.model.llava
        stage, newline = self._stage, newline_of(llava)
        parts = (
            (llava.model.multi_modal_projector.parameters(), stage.projector_lr),
            ([] if newline is None else [newline], stage.projector_lr),
            (llava.model.vision_tower.parameters(), stage.vision_tower_lr),
            (llava.model.language_model.parameters(), stage.language_model_lr),
            (llava.lm_head.parameters(), stage.language_model_lr),
        )
        seen: set[Tensor] = set()  # a tied head is the embeddings' own tensor
        groups = []
        for part, rate in parts:
            group = [p for p in part if p.requires_grad and p not in seen]
            seen.update(group)
            groups.append({"params": group, "lr": rate})
        # Fused, since AdamW's other form takes as much memory again as what learns.
        adamw = partial(torch.optim.AdamW, fused=True)
        kind = _adamw_8bit() if self._stage.optimizer == "adamw_8bit" else adamw
        self.optimizer = kind([g for g in groups if g["params"]], weight_decay=0.0)
        return self.optimizer

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Our own batches of the whole stage; Trainer's would depend on the number of devices."""
        devices = Devices(self.args.world_size, self.args.process_index)
        lengths, pictured = self.train_dataset.lengths()
        return self._loader(
            self.train_dataset, StageBatches(lengths, pictured, self._stage, self._seed, devices)
        )

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """Trainer's step; what the batch holds is counted and its loss is checked."""
        records, lengths = inputs.pop("records"), inputs.pop("lengths")
        images = sum(len(inputs[name]) for name in ("pixel_values", "features") if name in inputs)
        self._throughput.add(lengths, _learned(inputs), images)
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        self._stop_on_nan.check_loss(loss, self.state.global_step + 1, records)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Trainer's report, with the stage's epochs: to Trainer the whole stage is one epoch."""
        share, self.state.epoch = self.state.epoch, self.state.epoch * self._stage.epochs
        super().log(logs, start_time)
        self.state.epoch = share

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """The mean cross-entropy of all labelled tokens of the held-out records, as `eval_loss`.

        Trainer's own is a mean of batches' means, and asks the model for logits.
        """
        devices = Devices(self.args.world_size, self.args.process_index)
        size = self._stage.split(devices.count)[0]
        loader = self._loader(self.eval_dataset, in_order(len(self.eval_dataset), size, devices))
        self.model.eval()
        sums = torch.zeros(2, dtype=torch.float64)
        with torch.no_grad(), self.compute_loss_context_manager():
            for batch in loader:
                loss = self.model(**self._prepare_inputs(batch), num_items_in_batch=1)["loss"]
                sums += torch.tensor([float(loss), _learned(batch)], dtype=torch.float64)
        self.model.train()
        total, learned = self.accelerator.reduce(sums.to(self.args.device), "sum").tolist()
        metrics = {"eval_loss": total / max(learned, 1)}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def trained_state(self) -> dict[str, Tensor]:
        """What has learnt, in one piece on the CPU; with shards every process must call this."""
        if self._sharded:
            return sharding.trained_state(self.model)
        return {name: p.detach().cpu().contiguous() for name, p in _trained(self.model)}

    def _loader(self, dataset: RecordDataset, batches: Iterable[list[int]]) -> DataLoader[Any]:
        loader = DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=pack if self._stage.packing else pad,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        watch_for_stalls(loader)
        return loader

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write what learns alone; Trainer would write the frozen weights at every checkpoint."""
        folder = Path(output_dir or self.args.output_dir)
        if not (self.args.should_save or self._sharded):
            return
        state = self.trained_state()
        if self.args.should_save:
            folder.mkdir(parents=True, exist_ok=True)
            save_file(state, folder / TRAINED)
            open_to_others(folder / TRAINED)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Read what `_save` wrote; raises TrainingError where the stage trains other parts."""
        saved = load_file(Path(resume_from_checkpoint) / TRAINED)
        own = dict(_trained(self.model))
        shapes = {name: tensor.shape for name, tensor in saved.items()}
        if shapes != {name: parameter.shape for name, parameter in own.items()}:
            raise TrainingError(
                f"{resume_from_checkpoint} was trained with other parts than the recipe says; "
                "train into another folder or take back the change."
            )
        if self._sharded:
            sharding.load_trained_state(self.model, saved)
            return
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(saved[name])

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """Gather the optimizer's state from all processes; Trainer would write one part of it."""
        if not self._sharded:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        write, folder = self.args.should_save, Path(output_dir)
        sharding.save_optimizer(self.model, self.optimizer, folder / OPTIMIZER, write=write)
        if write:
            torch.save(self.lr_scheduler.state_dict(), folder / "scheduler.pt")

    def _save_rng_state(self, output_dir: str) -> None:
        """Wait for every process: what Trainer writes next marks the checkpoint as complete."""
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Read what `_save_optimizer_and_scheduler` wrote, by any number of processes."""
        if checkpoint is None or not self._sharded:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        sharding.load_optimizer(self.model, self.optimizer, Path(checkpoint) / OPTIMIZER)
        schedule = torch.load(Path(checkpoint) / "scheduler.pt", weights_only=True)
        self.lr_scheduler.load_state_dict(schedule)

    def _move_model_to_device(self, model: nn.Module, device: torch.device) -> None:
        """Leave shards where they are: each process put its own on its device."""
        if not self._sharded:
            super()._move_model_to_device(model, device)

    def _defer_fsdp_gradient_reduction(self) -> AbstractContextManager[None]:
        """Reduce the gradients of each micro-batch: those that wait would be whole and in fp32."""
        return nullcontext()


def _learned(batch: dict[str, Any]) -> int:
    """How many tokens of a batch count in the loss."""
    return int((batch["labels"][:, 1:] != IGNORE_INDEX).sum())


def _trained(model: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)


def _layers(model: nn.Module) -> list[nn.Module]:
    """The language model's layers, which transformers says must not be split."""
    language_model = model.llava.model.language_model
    names = set(language_model._no_split_modules or ())
    return [part for part in language_model.modules() if type(part).__name__ in names]


def _adamw_8bit() -> Callable[..., torch.optim.Optimizer]:
    from bitsandbytes.optim.adamw import AdamW8bit

    kind: Callable[..., torch.optim.Optimizer] = AdamW8bit
    return kind
