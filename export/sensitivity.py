"""`llava-edge sensitivity`: what 4 bits cost in each linear layer is measured and written down."""

from pathlib import Path

from llava_edge.data.records import Data, load_records
from llava_edge.errors import UsageError
from llava_edge.export.layer_divergence import measure
from llava_edge.export.layouts.checkpoint import open_checkpoint
from llava_edge.export.precision_tuning import check_tunable
from llava_edge.export.quantization.precision import DEFAULT, Precision
from llava_edge.export.sensitivity_file import Sensitivity, write_sensitivity


def sensitivity(
    checkpoint: Path | str,
    out: Path,
    *,
    base: Path | str | None = None,
    vision_tower: Path | str | None = None,
    precision: Precision = DEFAULT,
    data: Data | None = None,
) -> Sensitivity:
    """Measure what 4 bits cost in each linear layer of a checkpoint, and write it to `out`.

    As `sensitivity.json` in the checkpoint's folder, the file spares an export of mixed precision
    to measure the same again. `base` is the language model that an adapter needs, `vision_tower`
    the tower that a checkpoint names, `precision` how the layers are quantized, `data` the records
    that are measured on, instead of drawn pictures that the original describes. Raises UsageError
    where `out` has no folder or the weights cannot be quantized so, CheckpointError and RecordError
    for what cannot be read.
    """
    if not out.resolve().parent.is_dir():
        raise UsageError(f"{out} cannot be written, since its folder is missing; make it first.")
    records = None if data is None else load_records(data)
    opened = open_checkpoint(checkpoint, base=base, vision_tower=vision_tower)
    check_tunable(opened, precision, mixed=True)
    found: Sensitivity = measure(opened, precision, records)
    write_sensitivity(out, found)
    return found
