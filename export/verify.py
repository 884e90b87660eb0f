"""`llava-edge verify`: a bundle is compared with the checkpoint that it was exported from.

The same pictures and prompts go through transformers and through the bundle's own runtime.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from llava_edge.bundle import find_bundle, read_bundle, rewrite_bundle_json, verify_once
from llava_edge.config import BundleConfig, Quality, QualityLimits, QuantizationConfig
from llava_edge.errors import QualityError, UsageError
from llava_edge.export.checkpoints.checkpoint import Checkpoint, open_checkpoint
from llava_edge.export.progress import step_bar
from llava_edge.export.reference import Reference
from llava_edge.export.samples import conversation_samples, text_samples
from llava_edge.model import DEFAULT_CONTEXT, Llava, load
from llava_edge.records import Data
from llava_edge.scoring import Sample, Targets, log_softmax, losses
from llava_edge.tokenizer import Tokenizer

QUESTIONS = 8  # about drawn pictures, where no records are given
RECORDS = 32  # of those given that are looked at
# What is stored as it is must come out as it went in; 4 bits may move a small model this far.
EXACT = QualityLimits(0.999, 0.01, 0.98, 0.02)
QUANTIZED = QualityLimits(0.99, 0.25, 0.5, 0.3)

Floats = NDArray[np.float32]


class Side(Protocol):
    """Either of the two that are compared."""

    def encode(self, picture: Image.Image) -> Floats: ...
    def embed(self, ids: list[int]) -> Floats: ...
    def score(self, rows: Floats, positions: Sequence[int]) -> Floats: ...


@dataclass(frozen=True)
class Outcome:
    """What one side made of a sample: image embeddings [T, D] and logits [P, V] of its targets."""

    picture: Floats | None
    targets: Targets
    logits: Floats


def verify(
    bundle: Path | str | None,
    against: Path | str,
    *,
    base: Path | str | None = None,
    vision_tower: Path | str | None = None,
    data: Data | None = None,
    limits: Mapping[str, float] | None = None,
) -> BundleConfig:
    """Compare a bundle with its checkpoint and write what was found into its bundle.json.

    `data` are records to compare on, instead of drawn pictures that the original describes.
    `limits` replace those of QualityLimits by name; `quality.broken` says which are not kept.
    """
    folder = find_bundle(bundle)
    config = read_bundle(folder)
    verify_once(folder, config)
    opened = open_checkpoint(
        against, base=base, vision_tower=vision_tower, prompt=config.prompt.name
    )
    quality = compare(folder, config, opened, data, limits or {})
    return rewrite_bundle_json(folder, replace(config, quality=quality))


def compare(
    folder: Path,
    config: BundleConfig,
    checkpoint: Checkpoint,
    data: Data | None,
    limits: Mapping[str, float],
) -> Quality:
    """Measure how far a bundle is from its original, each loaded when the other is gone."""
    chosen = choose_limits(config.quantization, limits)
    tokenizer = Tokenizer(checkpoint.tokenizer)
    reference = Reference(checkpoint)
    count = QUESTIONS if data is None else RECORDS
    samples = conversation_samples(reference, config.prompt, tokenizer, data, count)
    samples += text_samples(tokenizer)
    context = min(config.decoder.context_length, DEFAULT_CONTEXT)
    expected = list(_outcomes(reference, samples, "Asking the original", context))
    del reference
    found = list(_outcomes(_Bundle(load(folder)), samples, "Asking the bundle", context))
    quality = _measure(expected, found, chosen)
    return replace(quality, broken=tuple(_broken(quality)))


def refuse_broken(config: BundleConfig, *, accept: bool) -> None:
    """Raise QualityError where a limit is broken, unless that is accepted."""
    quality = config.quality
    if quality is None or not quality.broken or accept:
        return
    raise QualityError(
        f"The bundle differs from its original more than allowed ({'; '.join(quality.broken)}); "
        "choose another --quantize or --mixed, or keep it all the same with --accept."
    )


def choose_limits(quantization: QuantizationConfig, limits: Mapping[str, float]) -> QualityLimits:
    """The usual limits for a quantization, with those named instead; raises UsageError."""
    known = [field.name for field in fields(QualityLimits)]
    if unknown := sorted(set(limits) - set(known)):
        raise UsageError(f"There is no limit {unknown[0]}; name one of {', '.join(known)}.")
    exact = quantization.method == "none" and quantization.head_bits >= 16
    return replace(EXACT if exact and quantization.tower != "int8" else QUANTIZED, **limits)


class _Bundle:
    """The runtime, asked as the original is."""

    def __init__(self, model: Llava) -> None:
        self._model = model

    def encode(self, picture: Image.Image) -> Floats:
        return self._model.vision.encode(picture).rows

    def embed(self, ids: list[int]) -> Floats:
        return self._model.decoder.embed(ids)

    def score(self, rows: Floats, positions: Sequence[int]) -> Floats:
        self._model.decoder.rewind(0)
        return self._model.decoder.score(rows, positions)


def _outcomes(side: Side, samples: Sequence[Sample], about: str, context: int) -> Iterator[Outcome]:
    """What a side makes of the samples, without those that are longer than the context."""
    for sample in step_bar(about, samples):
        picture = None if sample.picture is None else side.encode(sample.picture)
        targets = sample.targets(0 if picture is None else len(picture))
        rows = sample.rows(side.embed, picture)
        if len(rows) <= context:
            yield Outcome(picture, targets, side.score(rows, targets.positions.tolist()))


def _measure(
    expected: Sequence[Outcome], found: Sequence[Outcome], limits: QualityLimits
) -> Quality:
    if not any(outcome.targets.learned.any() for outcome in expected):
        raise UsageError("All samples are longer than the model's context; give shorter --records.")
    pairs = list(zip(expected, found, strict=True))
    pictures = [
        (original.picture, ours.picture)
        for original, ours in pairs
        if original.picture is not None and ours.picture is not None
    ]
    divergences = np.concatenate([_divergence(a.logits, b.logits) for a, b in pairs])
    agreed = np.concatenate([a.logits.argmax(1) == b.logits.argmax(1) for a, b in pairs])
    return Quality(
        pictures=len(pictures),
        tokens=len(divergences),
        image_cosine=float(np.mean([_cosines(a, b).mean() for a, b in pictures] or [1.0])),
        image_max_error=float(max((np.abs(a - b).max() for a, b in pictures), default=0.0)),
        kl_mean=float(divergences.mean()),
        kl_p99=float(np.quantile(divergences, 0.99)),
        top1_agreement=float(agreed.mean()),
        text_perplexity=_perplexity(found, answers=False),
        text_perplexity_original=_perplexity(expected, answers=False),
        answer_perplexity=_perplexity(found, answers=True),
        answer_perplexity_original=_perplexity(expected, answers=True),
        limits=limits,
    )


def _perplexity(outcomes: Sequence[Outcome], *, answers: bool) -> float:
    """Of the answers in all samples that have one, or of the texts, which have none."""
    found = []
    for outcome in outcomes:
        learned = outcome.targets.learned
        if learned.any() == answers:
            chosen = learned if answers else np.ones_like(learned)
            found.append(losses(outcome.logits, outcome.targets)[chosen])
    return float(np.exp(np.concatenate(found).mean()))


def _cosines(a: Floats, b: Floats) -> Floats:
    """Of the rows of two matrices."""
    cosines: Floats = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return cosines


def _divergence(expected: Floats, found: Floats) -> Floats:
    """KL(expected || found) of each row of logits."""
    p, q = log_softmax(expected), log_softmax(found)
    divergence: Floats = (np.exp(p) * (p - q)).sum(1)
    return divergence


def _broken(quality: Quality) -> Iterator[str]:
    limits = quality.limits
    for name in ("image_cosine", "top1_agreement"):
        value, limit = getattr(quality, name), getattr(limits, name)
        if not value >= limit:
            yield f"{name} is {value:.4f}, at least {limit:g} was expected"
    if not quality.kl_mean <= limits.kl_mean:
        yield f"kl_mean is {quality.kl_mean:.4f}, at most {limits.kl_mean:g} was expected"
    for name in ("text", "answer"):
        original = getattr(quality, f"{name}_perplexity_original")
        increase = getattr(quality, f"{name}_perplexity") / original - 1
        if not increase <= limits.perplexity_increase:
            yield (
                f"perplexity_increase of the {name}s is {increase:.4f}, at most "
                f"{limits.perplexity_increase:g} was expected"
            )
