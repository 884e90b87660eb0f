"""What is measured on the original before a bundle is written, for --mixed and calibration."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from llava_edge.core.extras import needed_by
from llava_edge.data.record_types import Record
from llava_edge.errors import UsageError
from llava_edge.export.layouts.checkpoint import Checkpoint
from llava_edge.export.quantization.precision import Precision
from llava_edge.export.sensitivity_file import (
    FILE,
    Sensitivity,
    choose_eight_bits,
    read_sensitivity,
)


@contextmanager
def tuned(
    checkpoint: Checkpoint,
    precision: Precision,
    mixed_share: float | None,
    records: Sequence[Record] | None,
    scratch: Path,
) -> Iterator[tuple[Checkpoint, Precision]]:
    """The checkpoint and the precision as --mixed and --quantize calibrated change them.

    `mixed_share` is the most of the weights that keep 8 bits; None is not mixed. Raises
    LlavaEdgeError where a library that this needs is missing.
    """
    if mixed_share is not None:
        sensitivity = _sensitivity(checkpoint, precision, records)
        chosen = choose_eight_bits(sensitivity, checkpoint, mixed_share)
        precision = replace(precision, eight_bits=chosen)
    if precision.method != "calibrated":
        yield checkpoint, precision
        return
    with needed_by("--quantize calibrated", "calibrate"):
        from llava_edge.export.calibrate import calibrated
    with calibrated(checkpoint, precision, records, scratch) as tensors:
        yield replace(checkpoint, tensors=tensors), precision


def check_tunable(checkpoint: Checkpoint, precision: Precision, *, mixed: bool) -> None:
    """Raise UsageError where the options ask to tune what cannot be tuned."""
    if mixed and precision.method in ("nf4", "none"):
        raise UsageError(
            f'--mixed keeps 8 bits where 4 hurt most, but "{precision.method}" does not have both; '
            "choose kquant, rtn or calibrated."
        )
    option = "--mixed" if mixed else "--quantize calibrated"
    if checkpoint.kept and (mixed or precision.method == "calibrated"):
        raise UsageError(
            f"{option} chooses how weights are rounded, but {checkpoint.folder} is quantized "
            f"already ({checkpoint.kept}); leave it out, or give --requantize as well."
        )


def _sensitivity(
    checkpoint: Checkpoint, precision: Precision, records: Sequence[Record] | None
) -> Sensitivity:
    """Read from beside the checkpoint where it was measured for this precision, else measured."""
    path = checkpoint.folder / FILE
    if path.exists():
        found = read_sensitivity(path)
        if (found.scheme, found.block_size) == (precision.scheme, precision.blocks):
            return found
    with needed_by("--mixed", "verify"):
        from llava_edge.export.layer_divergence import measure
    measured: Sensitivity = measure(checkpoint, precision, records)
    return measured
