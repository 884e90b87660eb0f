"""Whether a new bundle is compared with its original, and what follows from it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.metadata import version
from math import prod
from pathlib import Path

from llava_edge.core.bundle import rewrite_bundle_json
from llava_edge.core.bundle_config import BundleConfig, DeviceName
from llava_edge.core.extras import install_command
from llava_edge.core.machine import available_memory
from llava_edge.data.record_types import Record
from llava_edge.errors import OriginalError, UsageError
from llava_edge.export.layouts.checkpoint import Checkpoint
from llava_edge.export.progress_bars import note
from llava_edge.export.quality_limits import check_names, refuse_broken

TRANSFORMERS = (5, 6)  # the first that the comparison works with
# What is said where memory runs out and no class of error tells: by torch on a CPU, by onnxruntime
# and by loading a bundle.
_OUT_OF_MEMORY = (
    "DefaultCPUAllocator",
    "Failed to allocate memory",
    "bad_alloc",
    "bad allocation",
    "of memory are free",
)


@dataclass(frozen=True)
class Check:
    """How a new bundle is compared with its original; see `llava_edge.export.verify`.

    `wanted` None compares where torch, transformers, onnxruntime and enough memory are there.
    `limits` replace those of QualityLimits by name; `accept` keeps a bundle that breaks one.
    Raises UsageError for a limit of another name.
    """

    wanted: bool | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    accept: bool = False

    def __post_init__(self) -> None:
        check_names(self.limits)


def is_checked(check: Check, checkpoint: Checkpoint, devices: Sequence[DeviceName]) -> bool:
    """Whether the bundle is compared with its original.

    Raises UsageError where that is wanted and cannot be.
    """
    if check.wanted is False:
        return False
    obstacle = _obstacle(checkpoint, devices)
    if obstacle is None:
        return True
    if check.wanted:
        raise _unverifiable(obstacle)
    note(f"The bundle is not verified: {obstacle}.", logging.WARNING)
    return False


def check_bundle(
    folder: Path,
    config: BundleConfig,
    checkpoint: Checkpoint,
    records: Sequence[Record] | None,
    check: Check,
) -> BundleConfig:
    """Compare a bundle with its original and write what was found into its bundle.json.

    Too little memory, or an original that transformers cannot open, leaves the bundle unverified
    where nobody asked for the comparison, and is a UsageError where it is wanted. Raises
    QualityError where the bundle is too far from its original; any other error is a fault.
    """
    from llava_edge.export.verify import compare

    try:
        quality = compare(folder, config, checkpoint, records, check.limits)
    except Exception as error:
        reason = _forgivable(error)
        if reason is None:
            raise
        if check.wanted:
            raise _unverifiable(reason) from error
        note(f"The bundle is not verified: {reason}.", logging.WARNING)
        return config
    config = replace(config, quality=replace(quality, accepted=check.accept))
    rewrite_bundle_json(folder, config)
    refuse_broken(config)
    return config


def _obstacle(checkpoint: Checkpoint, devices: Sequence[DeviceName]) -> str | None:
    """Why a comparison is not even begun."""
    if "cpu" not in devices:
        return "it has no graphs for the CPU"
    needed = 2 * sum(prod(tensor.shape) for tensor in checkpoint.tensors.values())
    free = available_memory()
    if 1.2 * needed > free:
        return (
            f"the original takes {needed / 1e9:.0f} GB in 16 bits and {free / 1e9:.0f} GB of "
            "memory are free (run `llava-edge verify` on a larger machine)"
        )
    for name in ("torch", "transformers", "onnxruntime"):
        try:
            import_module(name)
        except (ImportError, OSError) as error:  # as where a library of the system is missing
            return f"{name} cannot be imported ({error}; run `{install_command('verify')}`)"
    if _version("transformers") < TRANSFORMERS:
        wanted = ".".join(map(str, TRANSFORMERS))
        return f"transformers is older than {wanted} (run `{install_command('verify')}`)"
    return None


def _unverifiable(reason: str) -> UsageError:
    return UsageError(f"The bundle cannot be verified: {reason}; leave out --verify.")


def _version(package: str) -> tuple[int, ...]:
    """Major and minor."""
    return tuple(int(part) for part in version(package).split(".")[:2])


def _forgivable(error: Exception) -> str | None:
    """What to say of an error that is no fault of the bundle's or of the comparison's."""
    import torch

    causes = (error, error.__cause__)
    said = any(words in str(error) for words in _OUT_OF_MEMORY)
    if said or any(isinstance(one, MemoryError | torch.OutOfMemoryError) for one in causes):
        return "there was not enough memory (run `llava-edge verify` on a larger machine)"
    return str(error).removesuffix(".") if isinstance(error, OriginalError) else None
