"""`llava-edge export`: a checkpoint becomes a bundle, whole or not at all."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from llava_edge import __version__
from llava_edge.bundle import (
    TOKENIZER_JSON,
    WEIGHTS_BIN,
    decoder_onnx,
    vision_onnx,
    write_bundle_json,
)
from llava_edge.config import (
    FORMAT_VERSION,
    BundleConfig,
    DecoderConfig,
    DeviceName,
    EmbeddingConfig,
    TilesConfig,
    VisionConfig,
)
from llava_edge.errors import CheckpointError
from llava_edge.export.checkpoints.checkpoint import Checkpoint, open_checkpoint
from llava_edge.export.checkpoints.lazy_tensor import LazyTensor
from llava_edge.export.checkpoints.text_config import TextConfig
from llava_edge.export.graphs.decoder import HEAD_DIM_MULTIPLE, write_decoder
from llava_edge.export.graphs.decoder_weights import DecoderWeights
from llava_edge.export.graphs.vision import image_tokens, write_vision
from llava_edge.export.graphs.weights import WeightFile
from llava_edge.export.new_folder import check_target, new_folder
from llava_edge.export.progress import reading_bar
from llava_edge.export.quantization.precision import DEFAULT, Precision

DEVICES: tuple[DeviceName, ...] = ("cpu", "gpu")


def export(
    checkpoint: Path | str,
    out: Path,
    *,
    base: Path | str | None = None,
    vision_tower: Path | str | None = None,
    precision: Precision = DEFAULT,
    devices: Sequence[DeviceName] = DEVICES,
    prompt: str | None = None,
    force: bool = False,
) -> BundleConfig:
    """Export a LLaVA checkpoint as a bundle and return what its bundle.json says.

    `base` is the language model that an adapter needs, `vision_tower` the tower that a checkpoint
    names, `prompt` the name of a prompt format. The bundle grows under a temporary name beside
    `out` and is renamed when it is finished. Raises BundleError where `out` exists (a bundle is
    replaced if `force`) or cannot be written, CheckpointError where the checkpoint cannot be
    exported.
    """
    out = out.resolve()
    check_target(out, force=force)
    opened = open_checkpoint(checkpoint, base=base, vision_tower=vision_tower, prompt=prompt)
    _check_heads(opened.config.text)
    with new_folder(out) as folder:
        return write_bundle(opened, folder, precision, devices)


def write_bundle(
    checkpoint: Checkpoint, folder: Path, precision: Precision, devices: Sequence[DeviceName]
) -> BundleConfig:
    """Write the files of a bundle into a folder that is there."""
    config = checkpoint.config
    tokenizer = checkpoint.tokenizer.to_str(pretty=True)
    (folder / TOKENIZER_JSON).write_text(tokenizer, encoding="utf-8")
    with (
        WeightFile(folder / WEIGHTS_BIN) as weights,
        reading_bar("Exporting", checkpoint.tensors) as tensors,
    ):
        decoder = DecoderWeights(config.text, tensors, weights, precision)
        for device in devices:
            vision = folder / vision_onnx(device)
            write_vision(config, tensors, weights, vision, device, precision.tower)
        for device in devices:
            write_decoder(config.text, decoder, folder / decoder_onnx(device), device)
        embedding, tiles = decoder.embedding(), _tiles(checkpoint, tensors, weights)
    bundle = BundleConfig(
        format_version=FORMAT_VERSION,
        name=checkpoint.name,
        vision=VisionConfig(
            model_type=config.tower.model_type,
            image=checkpoint.image,
            image_tokens=image_tokens(config),
            tiles=tiles,
        ),
        prompt=checkpoint.prompt,
        decoder=_decoder_config(config.text, embedding),
        quantization=decoder.quantization(checkpoint.method),
        devices=tuple(devices),
        provenance={**checkpoint.provenance, "exported_by": f"llava-edge {__version__}"},
        files={},
    )
    return write_bundle_json(folder, bundle)


def _tiles(
    checkpoint: Checkpoint, tensors: Mapping[str, LazyTensor], weights: WeightFile
) -> TilesConfig | None:
    grid = checkpoint.config.grid_pinpoints
    if not grid:
        return None
    newline = tensors["image_newline"].read().astype("float32")
    return TilesConfig(grid, weights.append(newline))


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


def _check_heads(text: TextConfig) -> None:
    """Refuse what GroupQueryAttention cannot compute."""
    if text.head_dim % HEAD_DIM_MULTIPLE:
        raise CheckpointError(
            f"The language model's heads have {text.head_dim} dimensions, but export needs a "
            f"multiple of {HEAD_DIM_MULTIPLE}; choose another language model."
        )
