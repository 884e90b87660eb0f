"""What asks the original before a bundle is written: mixed precision, and calibration."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from llava_edge.errors import UsageError
from llava_edge.export.checkpoints.checkpoint import Checkpoint
from llava_edge.export.quantization.precision import Precision
from llava_edge.records import Data


@contextmanager
def tuned(
    checkpoint: Checkpoint, precision: Precision, mixed_share: float | None, data: Data | None
) -> Iterator[tuple[Checkpoint, Precision]]:
    """A checkpoint and a precision with what --mixed and --quantize calibrated make of them.

    `mixed_share` is the most of the weights that keep 8 bits; None is not mixed. Raises UsageError
    where a library that this needs is missing.
    """
    if mixed_share is not None:
        precision = _mixed(checkpoint, precision, mixed_share, data)
    if precision.method != "calibrated":
        yield checkpoint, precision
        return
    with _needs("--quantize calibrated", "calibrate"):
        from llava_edge.export.calibrate import calibrated
    with calibrated(checkpoint, precision, data) as tensors:
        yield replace(checkpoint, tensors=tensors), precision


def _mixed(
    checkpoint: Checkpoint, precision: Precision, share: float, data: Data | None
) -> Precision:
    """Keep 8 bits where the checkpoint's own file, or else a measurement now, says they gain "
    "most."""
    from llava_edge.export.sensitivity_file import FILE, choose_eight_bits, read_sensitivity

    path = checkpoint.folder / FILE
    if path.exists():
        sensitivity = read_sensitivity(path)
    else:
        with _needs("--mixed", "verify"):
            from llava_edge.export.sensitivity import measure
        sensitivity = measure(checkpoint, precision, data)
    return replace(precision, eight_bits=choose_eight_bits(sensitivity, checkpoint, share))


@contextmanager
def _needs(option: str, extra: str) -> Iterator[None]:
    """Say which extra to install where a library that it brings is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{option} needs {error.name}, which is not installed; "
            f"run `pip install 'llava-edge[{extra}]'`."
        ) from error
