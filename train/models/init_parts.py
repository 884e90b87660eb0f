"""The parts of the checkpoint that `init` names, as transformers' models."""

from typing import Literal

import torch
from torch import nn
from transformers import PreTrainedModel

from llava_edge.export.layouts.checkpoint import Checkpoint
from llava_edge.train.models.init_checkpoint import tower_config
from llava_edge.train.models.language_model import load_language_model
from llava_edge.train.models.language_weights import language_weights, read_tensors
from llava_edge.train.models.llava_kind import NEWLINE
from llava_edge.train.models.towers import KINDS, in_fast_layout


def load_init(
    checkpoint: Checkpoint, dtype: torch.dtype, quantize: Literal["nf4"] | None
) -> tuple[PreTrainedModel, PreTrainedModel]:
    """The vision tower and the causal language model; each tensor is read once.

    Raises TrainingError if LLaVA cannot hold the language model.
    """
    name, text = checkpoint.name, checkpoint.config.text
    weights = language_weights(name, text, checkpoint.file, checkpoint.tensors, dtype)
    return _load_tower(checkpoint, dtype), load_language_model(weights, dtype, quantize)


def load_init_projector(checkpoint: Checkpoint, projector: nn.Module) -> None:
    """Put the checkpoint's projector into one of its shape."""
    state = read_tensors(checkpoint.tensors, "multi_modal_projector.", torch.float32)
    projector.load_state_dict(state)


def load_init_newline(checkpoint: Checkpoint) -> nn.Parameter | None:
    """The row that ends a line of tiles [D] in fp32; None where pictures have no tiles."""
    if NEWLINE not in checkpoint.tensors:
        return None
    return nn.Parameter(read_tensors(checkpoint.tensors, NEWLINE, torch.float32)[""])


def _load_tower(checkpoint: Checkpoint, dtype: torch.dtype) -> PreTrainedModel:
    """Layers after the one whose rows are taken may be missing; these are drawn at random."""
    config = tower_config(checkpoint)
    tensors = {**checkpoint.tensors, **checkpoint.unused}
    kind = KINDS[config.model_type]
    tower: PreTrainedModel = kind.model.from_pretrained(
        None, config=config, state_dict=read_tensors(tensors, "vision_tower.", dtype), dtype=dtype
    )
    return in_fast_layout(tower, kind)
