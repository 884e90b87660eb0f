"""`llava-edge inspect`: what a bundle is, what it will take, and whether its files are whole."""

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from llava_edge.core.bundle import find_bundle, read_bundle, verify_checksums
from llava_edge.core.bundle_config import BundleConfig, Quality, QuantizationConfig
from llava_edge.core.tiles import most_rows
from llava_edge.runtime.devices.device import CUDA
from llava_edge.runtime.expected_memory import DEFAULT_CONTEXT, ExpectedMemory, expected_memory

CARDS = (6, 8, 12)  # GB that a consumer's GPU may have


def describe(bundle: Path | None, *, as_json: bool) -> None:
    """Check a bundle's sizes and checksums and print what it is; raises BundleError."""
    folder = find_bundle(bundle)
    config = read_bundle(folder)
    verify_checksums(folder, config)
    memory = expected_memory(config)
    if as_json:
        print(json.dumps({"path": str(folder), **asdict(config), "memory": asdict(memory)}))
        return
    console = Console(highlight=False, markup=False)
    console.print(_about(folder, config, memory))
    console.print(_files(config))
    print_quality(config)


def _about(folder: Path, config: BundleConfig, memory: ExpectedMemory) -> Table:
    decoder, image = config.decoder, config.vision.image
    context = min(decoder.context_length, DEFAULT_CONTEXT)
    rows = {
        "bundle": f"{config.name} ({folder})",
        "format": f"version {config.format_version}, prompts as {config.prompt.name}",
        "vision tower": f"{config.vision.model_type}, {image.size} x {image.size} pixels "
        f"({image.mode}) to {_image_tokens(config)} image tokens",
        "language model": f"{decoder.num_layers} layers of {decoder.hidden_size}, "
        f"{decoder.num_heads} heads ({decoder.num_kv_heads} for keys and values), "
        f"{decoder.vocab_size:,} tokens, context {decoder.context_length:,}",
        "quantization": _quantization(config.quantization),
        "devices": ", ".join(config.devices),
        "memory": f"about {_megabytes(memory.loaded)} once loaded, and up to "
        f"{_megabytes(memory.kv_cache)} more of KV cache for {context:,} tokens",
        **({"memory of a GPU": _gpu_memory(config)} if "gpu" in config.devices else {}),
        **config.provenance,
    }
    table = Table(show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _gpu_memory(config: BundleConfig) -> str:
    """What a card must have, and how long a conversation it then holds."""
    memory, longest = expected_memory(config, CUDA), config.decoder.context_length
    contexts = {size: min(memory.context(size * 10**9), longest) for size in CARDS}
    fitting = [f"{tokens:,} tokens in {size} GB" for size, tokens in contexts.items() if tokens > 0]
    context = f"; context: {', '.join(fitting)}" if fitting else ""
    return f"about {_megabytes(memory.loaded)} once loaded{context} (not measured)"


def print_quality(config: BundleConfig) -> None:
    """Print how far a bundle is from its original, where that was measured."""
    if config.quality is not None:
        Console(highlight=False, markup=False).print(_quality(config, config.quality))


def _quality(config: BundleConfig, quality: Quality) -> Table:
    limits, size = quality.limits, sum(file.size for file in config.files.values())
    increase = f"at most {1 + limits.perplexity_increase:g} times"
    rows = (
        (
            "image embeddings: cosine",
            f"{quality.image_cosine:.5f}",
            f"at least {limits.image_cosine:g}",
        ),
        ("largest error", f"{quality.image_max_error:.4f}", ""),
        (
            "next token: KL divergence",
            f"{quality.kl_mean:.5f}",
            f"at most {limits.kl_mean:g}",
        ),
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
        ("size", _megabytes(size), ""),
        ("bits a weight", f"{config.quantization.bits_per_weight:.2f}", ""),
    )
    table = Table("compared with the original", "", "limit")
    for row in rows:
        table.add_row(*row)
    table.caption = f"{quality.pictures} pictures, {quality.tokens:,} tokens"
    if quality.broken:
        verdict = "accepted although" if quality.accepted else "not accepted, since"
        table.caption += f"; {verdict} {'; '.join(quality.broken)}"
    return table


def _quantization(quantization: QuantizationConfig) -> str:
    eight = len(quantization.eight_bit_layers)
    return (
        f"{quantization.method}: linear layers {quantization.bits} bits"
        + (f" ({eight} of them 8)" if eight else "")
        + f", head {quantization.head_bits}, embedding {quantization.embedding_bits}, together "
        f"{quantization.bits_per_weight:.2f} bits a weight; vision tower {quantization.tower}"
    )


def _image_tokens(config: BundleConfig) -> str:
    """Of one picture; where it is cut into tiles, of the largest."""
    vision = config.vision
    if vision.tiles is None:
        return str(vision.image_tokens)
    return f"up to {most_rows(vision.image_tokens, vision.image, vision.tiles):,}"


def _files(config: BundleConfig) -> Table:
    table = Table("file", "size", "sha256 (checked)")
    for name, record in sorted(config.files.items()):
        table.add_row(name, _megabytes(record.size), record.sha256[:16])
    table.columns[1].justify = "right"
    return table


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
