"""`llava-edge export`: a checkpoint becomes a bundle, whole or not at all."""

from pathlib import Path

from llava_edge import __version__
from llava_edge.bundle import (
    DECODER_ONNX,
    TOKENIZER_JSON,
    VISION_ONNX,
    WEIGHTS_BIN,
    write_bundle_json,
)
from llava_edge.config import (
    FORMAT_VERSION,
    BundleConfig,
    DecoderConfig,
    EmbeddingConfig,
    QuantizationConfig,
    VisionConfig,
)
from llava_edge.errors import CheckpointError
from llava_edge.export.checkpoint import (
    Checkpoint,
    ClipConfig,
    TextConfig,
    open_checkpoint,
)
from llava_edge.export.decoder_graph import HEAD_DIM_MULTIPLE, Precision, write_decoder
from llava_edge.export.new_folder import check_target, new_folder
from llava_edge.export.progress import progress_bar
from llava_edge.export.quantize import BLOCK
from llava_edge.export.vision_graph import image_tokens, write_vision
from llava_edge.export.weights import WeightFile

_QUANTIZATION: dict[Precision, QuantizationConfig] = {
    "int4": QuantizationConfig("kquant", 4, BLOCK, head_bits=8, embedding_bits=8),
    "mixed": QuantizationConfig("kquant_mixed", 4, BLOCK, head_bits=8, embedding_bits=8),
    "fp32": QuantizationConfig("none", 32, BLOCK, head_bits=32, embedding_bits=32),
}


def export(
    checkpoint: Path,
    out: Path,
    *,
    base: Path | None = None,
    precision: Precision = "int4",
    prompt: str | None = None,
    force: bool = False,
) -> BundleConfig:
    """Export a LLaVA checkpoint as a bundle and return what its bundle.json says.

    `base` is the language model that an adapter needs, `prompt` the name of a prompt format. The
    bundle grows under a temporary name beside `out` and is renamed when it is finished. Raises
    BundleError where `out` exists (a bundle is replaced if `force`) or cannot be written,
    CheckpointError where the checkpoint cannot be exported.
    """
    out = out.resolve()
    check_target(out, force=force)
    opened = open_checkpoint(checkpoint, base=base, prompt=prompt)
    _check_sizes(opened.config.text, precision)
    with new_folder(out) as folder:
        return _write(opened, folder, precision)


def _write(checkpoint: Checkpoint, folder: Path, precision: Precision) -> BundleConfig:
    config = checkpoint.config
    tokenizer = checkpoint.tokenizer.to_str(pretty=True)
    (folder / TOKENIZER_JSON).write_text(tokenizer, encoding="utf-8")
    with WeightFile(folder / WEIGHTS_BIN) as weights, progress_bar(checkpoint.tensors) as tensors:
        half = precision != "fp32"
        write_vision(config, tensors, weights, folder / VISION_ONNX, half=half)
        embedding = write_decoder(config.text, tensors, weights, folder / DECODER_ONNX, precision)
    bundle = _bundle_config(checkpoint, embedding, precision)
    return write_bundle_json(folder, bundle)


def _bundle_config(
    checkpoint: Checkpoint, embedding: EmbeddingConfig, precision: Precision
) -> BundleConfig:
    config = checkpoint.config
    clip = isinstance(config.tower, ClipConfig)
    return BundleConfig(
        format_version=FORMAT_VERSION,
        name=checkpoint.name,
        vision=VisionConfig(
            model_type="clip_vision_model" if clip else "efficientnet_lite",
            image=checkpoint.image,
            image_tokens=image_tokens(config),
        ),
        prompt=checkpoint.prompt,
        decoder=_decoder_config(config.text, embedding),
        quantization=_QUANTIZATION[precision],
        provenance={**checkpoint.provenance, "exported_by": f"llava-edge {__version__}"},
        files={},
    )


def _decoder_config(text: TextConfig, embedding: EmbeddingConfig) -> DecoderConfig:
    return DecoderConfig(
        hidden_size=text.hidden_size,
        num_layers=text.num_layers,
        num_heads=text.num_heads,
        num_kv_heads=text.num_kv_heads,
        head_dim=text.head_dim,
        vocab_size=text.vocab_size,
        context_length=text.context_length,
        embedding=embedding,
    )


def _check_sizes(text: TextConfig, precision: Precision) -> None:
    """Refuse what MatMulNBits and GroupQueryAttention cannot compute."""
    inputs = (text.hidden_size, text.intermediate_size, text.num_heads * text.head_dim)
    if precision != "fp32" and any(size % BLOCK for size in inputs):
        raise CheckpointError(
            f"The language model's matrices have {inputs[0]}, {inputs[1]} and {inputs[2]} inputs, "
            f"but quantized export needs multiples of {BLOCK}; give --precision fp32."
        )
    if text.head_dim % HEAD_DIM_MULTIPLE:
        raise CheckpointError(
            f"The language model's heads have {text.head_dim} dimensions, but export needs a "
            f"multiple of {HEAD_DIM_MULTIPLE}; choose another language model."
        )
