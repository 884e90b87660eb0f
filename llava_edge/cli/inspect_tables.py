"""What a bundle is, as tables."""

from collections.abc import Iterator

from rich.table import Table

from llava_edge.cli.quality_table import megabytes
from llava_edge.core.bundle_config import BundleConfig, QuantizationConfig
from llava_edge.core.tiles import most_rows
from llava_edge.runtime.expected_memory import DEFAULT_CONTEXT, ExpectedMemory
from llava_edge.runtime.inspect import Inspection

CARDS = (6, 8, 12)  # GB that a consumer's GPU may have


def about_table(found: Inspection) -> Table:
    """What the bundle is and what it takes."""
    table = Table(show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _rows(found):
        table.add_row(name, value)
    return table


def files_table(config: BundleConfig) -> Table:
    """The bundle's files."""
    table = Table("file", "size", "sha256 (checked)")
    for name, record in sorted(config.files.items()):
        table.add_row(name, megabytes(record.size), record.sha256[:16])
    table.columns[1].justify = "right"
    return table


def _rows(found: Inspection) -> Iterator[tuple[str, str]]:
    config, memory = found.config, found.memory
    decoder, image = config.decoder, config.vision.image
    context = min(decoder.context_length, DEFAULT_CONTEXT)
    yield "bundle", f"{config.name} ({found.path})"
    yield "format", f"version {config.format_version}, prompts as {config.prompt.name}"
    yield "a conversation", found.example.replace("\n", "\\n")
    yield "an answer ends at", " or ".join(found.ends).replace("\n", "\\n") or "nothing"
    yield (
        "vision tower",
        f"{config.vision.model_type}, {image.size} x {image.size} pixels "
        f"({image.mode}) to {_image_tokens(config)} image tokens",
    )
    yield (
        "language model",
        f"{decoder.num_layers} layers of {decoder.hidden_size}, "
        f"{decoder.num_heads} heads ({decoder.num_kv_heads} for keys and values), "
        f"{decoder.vocab_size:,} tokens, context {decoder.context_length:,}",
    )
    yield "quantization", _quantization(config.quantization)
    yield "devices", ", ".join(config.devices)
    yield (
        "memory",
        f"about {megabytes(memory.loaded)} once loaded, and up to "
        f"{megabytes(memory.kv_cache)} more of KV cache for {context:,} tokens",
    )
    if found.gpu_memory is not None:
        yield "memory of a GPU", _gpu_memory(found.gpu_memory, decoder.context_length)
    yield from config.provenance.items()


def _gpu_memory(memory: ExpectedMemory, longest: int) -> str:
    """What a card must have, and how long a conversation it then holds."""
    contexts = {size: min(memory.context(size * 10**9), longest) for size in CARDS}
    fitting = [f"{tokens:,} tokens in {size} GB" for size, tokens in contexts.items() if tokens > 0]
    context = f"; context: {', '.join(fitting)}" if fitting else ""
    return f"about {megabytes(memory.loaded)} once loaded{context} (not measured)"


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
