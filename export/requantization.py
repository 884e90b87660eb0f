"""Weights that were quantized before: they are kept as they are, or quantized anew."""

from dataclasses import replace

from llava_edge.errors import CheckpointError, UsageError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.layouts.checkpoint import Checkpoint

_OPTION = "--requantize"


def requantized(checkpoint: Checkpoint) -> Checkpoint:
    """The same, to be quantized anew from the dequantized weights.

    Raises UsageError where it holds no quantized weights that would be kept.
    """
    if checkpoint.method is None:
        raise UsageError(
            f"{_OPTION} is given, but {checkpoint.folder} holds no quantized weights that would be "
            "kept; leave it out."
        )
    return replace(
        checkpoint,
        tensors={name: _dequantized(tensor) for name, tensor in checkpoint.tensors.items()},
        requantized=True,
        provenance={**checkpoint.provenance, "requantized_from": checkpoint.method},
    )


def check_kept(checkpoint: Checkpoint) -> None:
    """Raise CheckpointError where weights were quantized in a form that a bundle cannot keep."""
    reasons = [
        tensor.unkept
        for name, tensor in checkpoint.tensors.items()
        if tensor.unkept and name.startswith(("language_model.", "lm_head."))
    ]
    if reasons:
        raise CheckpointError(
            f"{checkpoint.folder} holds {len(reasons)} matrices of the language model "
            f"{reasons[0]}, which a bundle cannot keep as they are; give {_OPTION} to have them "
            "dequantized and quantized anew."
        )


def _dequantized(tensor: LazyTensor) -> LazyTensor:
    return replace(tensor, blocks=None, unkept="")
