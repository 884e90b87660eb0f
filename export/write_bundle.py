"""The files of a bundle, written from an open checkpoint."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from llava_edge.core.bundle import (
    TOKENIZER_JSON,
    WEIGHTS_BIN,
    decoder_onnx,
    vision_onnx,
    write_bundle_json,
)
from llava_edge.core.bundle_config import (
    FORMAT_VERSION,
    BundleConfig,
    DecoderConfig,
    DeviceName,
    EmbeddingConfig,
    TilesConfig,
    VisionConfig,
)
from llava_edge.core.version import __version__
from llava_edge.errors import CheckpointError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.graphs.cuda_kernels import GEMV, UNPACKED, cuda_kernels
from llava_edge.export.graphs.decoder_graph import HEAD_DIM_MULTIPLE, write_decoder
from llava_edge.export.graphs.decoder_weights import DecoderWeights
from llava_edge.export.graphs.vision_graph import write_vision
from llava_edge.export.graphs.weights_bin import WeightsBin
from llava_edge.export.kv_scales import measure_scales
from llava_edge.export.layouts.checkpoint import Checkpoint
from llava_edge.export.layouts.text_config import TextConfig
from llava_edge.export.progress_bars import note, reading_bar
from llava_edge.export.quantization.precision import Precision


def check_heads(text: TextConfig) -> None:
    """Raise CheckpointError for attention heads that GroupQueryAttention cannot compute."""
    if text.head_dim % HEAD_DIM_MULTIPLE:
        raise CheckpointError(
            f"The language model's heads have {text.head_dim} dimensions, but export needs a "
            f"multiple of {HEAD_DIM_MULTIPLE}; choose another language model."
        )


def write_bundle(
    checkpoint: Checkpoint, folder: Path, precision: Precision, devices: Sequence[DeviceName]
) -> BundleConfig:
    """Write a bundle into a folder that is there; raises CheckpointError for broken weights."""
    config = checkpoint.config
    tokenizer = checkpoint.tokenizer.to_str(pretty=True)
    (folder / TOKENIZER_JSON).write_text(tokenizer, encoding="utf-8")
    with (
        WeightsBin(folder / WEIGHTS_BIN) as weights,
        reading_bar("Exporting", checkpoint.tensors) as tensors,
    ):
        decoder = DecoderWeights(config.text, tensors, weights, precision)
        for device in devices:
            vision = folder / vision_onnx(device)
            write_vision(config, tensors, weights, vision, device, precision.tower)
        for device in devices:
            write_decoder(config.text, decoder, folder / decoder_onnx(device), device)
        tiles = _tiles(checkpoint, tensors, weights)
        bundle = _bundle_config(checkpoint, decoder, tiles, devices)
        if "gpu" in devices and precision.gpu_cache_bits == 8:
            weights.flush()
            scales = measure_scales(folder, bundle)
            write_decoder(config.text, decoder, folder / decoder_onnx("gpu"), "gpu", scales)
            bundle = replace(bundle, decoder=replace(bundle.decoder, gpu_cache_bits=8))
    if bundle.quantization.method == "bitsandbytes" and bundle.quantization.bits == 4:
        note(
            "onnxruntime unpacks NF4 anew for every token, which makes answers slow; a bundle made "
            "with --requantize answers faster."
        )
    if "gpu" in devices:
        _note_slow_kernels(folder / decoder_onnx("gpu"))
    return write_bundle_json(folder, bundle)


def _bundle_config(
    checkpoint: Checkpoint,
    decoder: DecoderWeights,
    tiles: TilesConfig | None,
    devices: Sequence[DeviceName],
) -> BundleConfig:
    """What bundle.json says, but for the files."""
    config = checkpoint.config
    return BundleConfig(
        format_version=FORMAT_VERSION,
        name=checkpoint.name,
        vision=VisionConfig(
            model_type=config.tower.model_type,
            image=checkpoint.image,
            image_tokens=config.image_tokens,
            tiles=tiles,
        ),
        prompt=checkpoint.prompt,
        decoder=_decoder_config(config.text, decoder.embedding(), checkpoint.stop_ids),
        quantization=decoder.quantization(checkpoint.kept),
        devices=tuple(devices),
        provenance={**checkpoint.provenance, "exported_by": f"llava-edge {__version__}"},
        files={},
    )


def _decoder_config(
    text: TextConfig, embedding: EmbeddingConfig, stop_ids: tuple[int, ...]
) -> DecoderConfig:
    return DecoderConfig(
        hidden_size=text.hidden_size,
        num_layers=text.num_layers,
        num_heads=text.num_heads,
        num_kv_heads=text.num_kv_heads,
        head_dim=text.head_dim,
        vocab_size=text.vocab_size,
        context_length=text.context_length,
        embedding=embedding,
        stop_ids=stop_ids,
    )


def _tiles(
    checkpoint: Checkpoint, tensors: Mapping[str, LazyTensor], weights: WeightsBin
) -> TilesConfig | None:
    grid = checkpoint.config.grid_pinpoints
    if not grid:
        return None
    newline = tensors["image_newline"].read().astype("float32")
    return TilesConfig(grid, weights.append(newline))


def _note_slow_kernels(decoder: Path) -> None:
    """Say which products onnxruntime computes slowly on an NVIDIA GPU, and why."""
    slow = [kernel for kernel in cuda_kernels(decoder) if kernel.name in (GEMV, UNPACKED)]
    reasons = Counter(kernel.reason for kernel in slow)
    if reasons:
        listed = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3))
        note(f"On NVIDIA GPUs, {len(slow)} products of the decoder are slower: {listed}.")
