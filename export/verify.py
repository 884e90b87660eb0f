"""`llava-edge verify`: a bundle is compared with the checkpoint that it was exported from.

The same pictures and prompts go through transformers and through the bundle's own runtime.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np

from llava_edge.core.array_types import Floats
from llava_edge.core.bundle import find_bundle, read_bundle, rewrite_bundle_json, verify_once
from llava_edge.core.bundle_config import BundleConfig, Quality
from llava_edge.core.picture import PictureSource
from llava_edge.core.stop_ids import stop_ids
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.data.record_types import Record
from llava_edge.data.records import Data, load_records
from llava_edge.errors import BundleError, UsageError
from llava_edge.export.comparison_samples import conversation_samples, text_samples
from llava_edge.export.layouts.checkpoint import Checkpoint, open_checkpoint
from llava_edge.export.progress_bars import step_bar
from llava_edge.export.quality_figures import Difference, Outcome, difference, measure_quality
from llava_edge.export.quality_limits import check_names, choose_limits
from llava_edge.export.reference import Reference
from llava_edge.runtime.expected_memory import DEFAULT_CONTEXT
from llava_edge.runtime.load import load
from llava_edge.runtime.model import Llava
from llava_edge.runtime.scoring import Sample, Scorer

QUESTIONS = 8  # about drawn pictures, where no records are given
RECORDS = 32  # of those given that are looked at


class Side(Protocol):
    """Either of the two that are compared."""

    def encode(self, source: PictureSource) -> Floats: ...
    def embed(self, ids: list[int]) -> Floats: ...
    def score(self, rows: Floats, positions: Sequence[int]) -> Floats: ...


def verify(
    bundle: Path | str | None,
    against: Path | str,
    *,
    base: Path | str | None = None,
    vision_tower: Path | str | None = None,
    data: Data | None = None,
    limits: Mapping[str, float] | None = None,
    accept: bool = False,
) -> BundleConfig:
    """Compare a bundle with its checkpoint and write what was found into its bundle.json.

    `data` are records to compare on, instead of drawn pictures that the original describes.
    `limits` replace those of QualityLimits by name; `quality.broken` says which are not kept, and
    `accept` is written beside them. Raises BundleError, CheckpointError, RecordError, UsageError.
    """
    check_names(limits or {})
    records = None if data is None else load_records(data)
    folder = find_bundle(bundle)
    config = read_bundle(folder)
    if "cpu" not in config.devices:
        raise UsageError(
            f"{folder} has graphs for gpu only, but those for cpu are compared; "
            "export it with --devices cpu,gpu."
        )
    verify_once(folder, config)
    opened = open_checkpoint(against, base=base, vision_tower=vision_tower, prompt=config.prompt)
    quality = compare(folder, config, opened, records, limits or {})
    config = replace(config, quality=replace(quality, accepted=accept))
    try:
        return rewrite_bundle_json(folder, config)
    except OSError as error:
        raise BundleError(
            f"What was measured could not be written into {folder} ({error}); make it writable."
        ) from error


def compare(
    folder: Path,
    config: BundleConfig,
    checkpoint: Checkpoint,
    records: Sequence[Record] | None,
    limits: Mapping[str, float],
    open_bundle: Callable[[Path], Llava] = load,
) -> Quality:
    """Measure how far a bundle is from its original, each loaded when the other is gone."""
    _check_sizes(folder, config, checkpoint)
    chosen = choose_limits(config.quantization, limits)
    with TemporaryDirectory(prefix="llava-edge-") as scratch:
        differences = _differences(folder, config, checkpoint, records, Path(scratch), open_bundle)
    return measure_quality(differences, chosen)


def _differences(
    folder: Path,
    config: BundleConfig,
    checkpoint: Checkpoint,
    records: Sequence[Record] | None,
    scratch: Path,
    open_bundle: Callable[[Path], Llava],
) -> list[Difference]:
    tokenizer = Tokenizer(checkpoint.tokenizer)
    context = min(config.decoder.context_length, DEFAULT_CONTEXT)
    reference = Reference(checkpoint, judging=True)
    count = QUESTIONS if records is None else RECORDS
    stop = stop_ids(config, tokenizer)
    conversations = conversation_samples(reference, config.prompt, stop, tokenizer, records, count)
    samples = [*conversations, *text_samples(tokenizer)]
    expected = _on_disk(_outcomes(reference, samples, "Asking the original", context), scratch)
    del reference
    found = _outcomes(Scorer(open_bundle(folder)), samples, "Asking the bundle", context)
    return [difference(*pair) for pair in zip(expected, found, strict=True)]


def _check_sizes(folder: Path, config: BundleConfig, checkpoint: Checkpoint) -> None:
    text, decoder = checkpoint.config.text, config.decoder
    pairs = {
        "number of layers": (decoder.num_layers, text.num_layers),
        "hidden size": (decoder.hidden_size, text.hidden_size),
        "vocabulary": (decoder.vocab_size, text.vocab_size),
        "number of image tokens": (config.vision.image_tokens, checkpoint.config.image_tokens),
    }
    for name, (ours, theirs) in pairs.items():
        if ours != theirs:
            raise UsageError(
                f"{folder} was not exported from {checkpoint.folder}, since its {name} is "
                f"{ours:,} and the checkpoint's is {theirs:,}; give the one that it came from."
            )


def _outcomes(side: Side, samples: Sequence[Sample], about: str, context: int) -> Iterator[Outcome]:
    """What a side makes of the samples; those longer than the context are left out."""
    for sample in step_bar(about, samples):
        picture = None if sample.picture is None else side.encode(sample.picture)
        targets = sample.targets(0 if picture is None else len(picture))
        rows = sample.rows(side.embed, picture)
        if len(rows) <= context:
            yield Outcome(picture, targets, side.score(rows, targets.positions.tolist()))


def _on_disk(outcomes: Iterable[Outcome], folder: Path) -> list[Outcome]:
    """The same, their logits in files: for a large vocabulary they are gigabytes."""
    kept = []
    for number, outcome in enumerate(outcomes):
        path = folder / f"{number}.npy"
        np.save(path, outcome.logits)
        kept.append(replace(outcome, logits=np.load(path, mmap_mode="r")))
    return kept
