"""How far a bundle is from its original, as a table."""

from rich.console import Console
from rich.table import Table

from llava_edge.core.bundle_config import BundleConfig, Quality


def print_quality(config: BundleConfig) -> None:
    """Print how far a bundle is from its original, where that was measured."""
    if config.quality is not None:
        Console(highlight=False, markup=False).print(_table(config, config.quality))


def megabytes(size: int) -> str:
    """Bytes in megabytes, for people."""
    return f"{size / 1e6:,.1f} MB"


def _table(config: BundleConfig, quality: Quality) -> Table:
    table = Table("compared with the original", "", "limit")
    for row in _rows(config, quality):
        table.add_row(*row)
    table.caption = f"{quality.pictures} pictures, {quality.tokens:,} tokens"
    if quality.broken:
        verdict = "accepted although" if quality.accepted else "not accepted, since"
        table.caption += f"; {verdict} {'; '.join(quality.broken)}"
    return table


def _rows(config: BundleConfig, quality: Quality) -> tuple[tuple[str, str, str], ...]:
    limits = quality.limits
    increase = f"at most {1 + limits.perplexity_increase:g} times"
    return (
        (
            "image embeddings: cosine",
            f"{quality.image_cosine:.5f}",
            f"at least {limits.image_cosine:g}",
        ),
        ("largest error", f"{quality.image_max_error:.4f}", ""),
        ("next token: KL divergence", f"{quality.kl_mean:.5f}", f"at most {limits.kl_mean:g}"),
        ("its 99th percentile", f"{quality.kl_p99:.4f}", ""),
        (
            "same likeliest token",
            f"{quality.top1_agreement:.1%}",
            f"at least {limits.top1_agreement:.0%}",
        ),
        (
            "perplexity: text",
            f"{quality.text_perplexity:.3f}, original {quality.text_perplexity_original:.3f}",
            increase,
        ),
        (
            "perplexity: answers",
            f"{quality.answer_perplexity:.3f}, original {quality.answer_perplexity_original:.3f}",
            increase,
        ),
        ("size", megabytes(config.size), ""),
        ("bits a weight", f"{config.quantization.bits_per_weight:.2f}", ""),
    )
