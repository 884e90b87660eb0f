"""The verb: a checkpoint becomes a bundle, whole or not at all."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from llava_edge.core.bundle_config import BundleConfig, DeviceName
from llava_edge.core.new_folder import check_target, new_folder
from llava_edge.data.records import Data, load_records
from llava_edge.export.bundle_check import Check as Check
from llava_edge.export.bundle_check import check_bundle, is_checked
from llava_edge.export.layouts.checkpoint import open_checkpoint
from llava_edge.export.precision_tuning import check_tunable, tuned
from llava_edge.export.progress_bars import note
from llava_edge.export.quantization.precision import DEFAULT, Precision
from llava_edge.export.requantization import check_kept, requantized
from llava_edge.export.write_bundle import check_heads, write_bundle

DEVICES: tuple[DeviceName, ...] = ("cpu", "gpu")
AUTOMATIC = Check()


def export(
    checkpoint: Path | str,
    out: Path | str,
    *,
    base: Path | str | None = None,
    vision_tower: Path | str | None = None,
    precision: Precision = DEFAULT,
    mixed_share: float | None = None,
    devices: Sequence[DeviceName] = DEVICES,
    prompt: str | None = None,
    requantize: bool = False,
    data: Data | None = None,
    check: Check | None = None,
    force: bool = False,
) -> BundleConfig:
    """Export a LLaVA checkpoint as a bundle and return what its bundle.json says.

    The bundle is written under a temporary name beside `out` and renamed when it is finished, so
    it is there whole or not at all. Nothing is printed: notes go to the logger `llava_edge`.

    Args:
        checkpoint: A folder, or `org/name` on the Hugging Face hub.
        out: The bundle's folder.
        base: The language model that an adapter or a projector builds on: a folder, a GGUF file or
            `org/name`. By default the one that the checkpoint names.
        vision_tower: The tower of a checkpoint that only names one or holds a part of it, given
            likewise.
        precision: How the weights are stored.
        mixed_share: The most of the decoder's weights, from 0 to 1, that keep 8 bits where 4 bits
            cost most. None: all have 4.
        devices: What graphs are written for.
        prompt: The name of a prompt format. By default the checkpoint's own.
        requantize: Quantize anew what the checkpoint holds quantized, instead of keeping it.
        data: Records to measure, calibrate and compare on. By default drawn pictures, about which
            the original is asked.
        check: Whether and how the bundle is compared with the checkpoint. By default it is where
            torch, transformers, onnxruntime and enough memory are there.
        force: Replace a bundle that is already at `out`.

    Raises:
        BundleError: `out` exists or cannot be written.
        CheckpointError: The checkpoint is broken, incomplete or of an unsupported kind.
        QualityError: The bundle is too far from the checkpoint; the error's `config` says how far.
        RecordError: A record of `data` is broken.
        UsageError: The arguments contradict each other or the checkpoint.

    Example:
        >>> from llava_edge.export import export
        >>> config = export("path/to/checkpoint", "bundle", devices=("cpu",))
        >>> config.quantization.bits_per_weight
        4.5
    """
    out = Path(out).resolve()
    check_target(out, force=force)
    records = None if data is None else load_records(data)
    opened = open_checkpoint(checkpoint, base=base, vision_tower=vision_tower, prompt=prompt)
    check_heads(opened.config.text)
    if requantize:
        opened = requantized(opened)
    check_kept(opened)
    if precision.symmetric is None:
        precision = replace(precision, symmetric="gpu" in devices)
    check_tunable(opened, precision, mixed=mixed_share is not None)
    check = check or AUTOMATIC
    checked = is_checked(check, opened, devices)
    for sentence in opened.notes:
        note(sentence)
    with new_folder(out) as folder:
        with tuned(opened, precision, mixed_share, records, folder) as (tuned_checkpoint, chosen):
            config = write_bundle(tuned_checkpoint, folder, chosen, devices)
        if checked:
            config = check_bundle(folder, config, opened, records, check)
    return config
