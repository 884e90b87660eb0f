"""How far a bundle may be from its original."""

from collections.abc import Mapping
from dataclasses import fields, replace

from llava_edge.core.bundle_config import BundleConfig, QualityLimits, QuantizationConfig
from llava_edge.errors import QualityError, UsageError

# What is stored as it is must come out as it went in; 4 bits may move a small model this far.
EXACT = QualityLimits(0.999, 0.01, 0.98, 0.02)
QUANTIZED = QualityLimits(0.99, 0.25, 0.5, 0.3)


def check_names(limits: Mapping[str, float]) -> None:
    """Raise UsageError for a limit of an unknown name."""
    known = [field.name for field in fields(QualityLimits)]
    if unknown := sorted(set(limits) - set(known)):
        raise UsageError(f"There is no limit {unknown[0]}; name one of {', '.join(known)}.")


def choose_limits(quantization: QuantizationConfig, limits: Mapping[str, float]) -> QualityLimits:
    """The usual limits for a quantization, with those named instead; raises UsageError."""
    check_names(limits)
    exact = quantization.method == "none" and quantization.head_bits >= 16
    return replace(EXACT if exact and quantization.tower != "int8" else QUANTIZED, **limits)


def refuse_broken(config: BundleConfig) -> None:
    """Raise QualityError, with the bundle's config, where a limit is broken and not accepted."""
    quality = config.quality
    if quality is None or not quality.broken or quality.accepted:
        return
    raise QualityError(
        f"The bundle differs from its original more than allowed ({'; '.join(quality.broken)}); "
        "choose another --quantize or --mixed, or keep it with --accept.",
        config,
    )
