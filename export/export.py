"""`llava-edge export`: a checkpoint becomes a bundle, whole or not at all."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from importlib.util import find_spec
from math import prod
from pathlib import Path

from llava_edge.core.bundle import (
    TOKENIZER_JSON,
    WEIGHTS_BIN,
    decoder_onnx,
    rewrite_bundle_json,
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
from llava_edge.core.extras import install_command
from llava_edge.core.machine import available_memory
from llava_edge.core.version import __version__
from llava_edge.data.records import Data, Record, load_records
from llava_edge.errors import CheckpointError, UsageError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.graphs.cuda_kernels import GEMV, UNPACKED, cuda_kernels
from llava_edge.export.graphs.decoder_graph import HEAD_DIM_MULTIPLE, write_decoder
from llava_edge.export.graphs.decoder_weights import DecoderWeights
from llava_edge.export.graphs.vision_graph import write_vision
from llava_edge.export.graphs.weights_bin import WeightsBin
from llava_edge.export.kv_scales import measure_scales
from llava_edge.export.layouts.checkpoint import Checkpoint, open_checkpoint
from llava_edge.export.layouts.text_config import TextConfig
from llava_edge.export.new_folder import check_target, new_folder
from llava_edge.export.progress_bars import note, reading_bar
from llava_edge.export.quality_limits import check_names, refuse_broken
from llava_edge.export.quantization.precision import DEFAULT, Precision
from llava_edge.export.tune import check_tunable, tuned

TRANSFORMERS = (5, 6)  # the first that the comparison works with
DEVICES: tuple[DeviceName, ...] = ("cpu", "gpu")


@dataclass(frozen=True)
class Check:
    """How a new bundle is compared with its original; see `llava_edge.export.verify`.

    `wanted` None compares where torch, transformers, onnxruntime and enough memory are at hand.
    """

    wanted: bool | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    accept: bool = False

    def __post_init__(self) -> None:
        check_names(self.limits)


AUTOMATIC = Check()


def export(
    checkpoint: Path | str,
    out: Path,
    *,
    base: Path | str | None = None,
    vision_tower: Path | str | None = None,
    precision: Precision = DEFAULT,
    mixed_share: float | None = None,
    devices: Sequence[DeviceName] = DEVICES,
    prompt: str | None = None,
    data: Data | None = None,
    check: Check | None = None,
    force: bool = False,
) -> BundleConfig:
    """Export a LLaVA checkpoint as a bundle and return what its bundle.json says.

    `base` is the language model that an adapter needs, `vision_tower` the tower that a checkpoint
    names, `mixed_share` the share of the weights that may keep 8 bits, `prompt` the name of a
    prompt format, `data` the records that are measured, calibrated and verified on. The bundle
    grows under a temporary name beside `out` and is renamed when it is finished. Raises BundleError
    where `out` exists (a bundle is replaced if `force`) or cannot be written, CheckpointError where
    the checkpoint cannot be exported, QualityError where the bundle is too far from its original.
    """
    out = out.resolve()
    check_target(out, force=force)
    records = None if data is None else load_records(data)
    opened = open_checkpoint(checkpoint, base=base, vision_tower=vision_tower, prompt=prompt)
    _check_heads(opened.config.text)
    if precision.symmetric is None:
        precision = replace(precision, symmetric="gpu" in devices)
    check_tunable(opened, precision, mixed=mixed_share is not None)
    check = check or AUTOMATIC
    verified = _is_verified(check, opened, devices)
    with new_folder(out) as folder:
        with tuned(opened, precision, mixed_share, records, folder) as (tuned_checkpoint, chosen):
            config = write_bundle(tuned_checkpoint, folder, chosen, devices)
        _note_slow_kernels(folder, devices)
        if verified:
            config = _verify(folder, config, opened, records, check)
    return config


def _is_verified(check: Check, checkpoint: Checkpoint, devices: Sequence[DeviceName]) -> bool:
    """Whether the bundle is compared with its original; raises UsageError where it cannot be."""
    if check.wanted is False:
        return False
    obstacle = _obstacle(checkpoint, devices)
    if obstacle is None:
        return True
    if check.wanted:
        raise UsageError(f"The bundle cannot be verified, since {obstacle}; leave out --verify.")
    note(f"The bundle is not verified, since {obstacle}.")
    return False


def _obstacle(checkpoint: Checkpoint, devices: Sequence[DeviceName]) -> str | None:
    missing = [name for name in ("torch", "transformers", "onnxruntime") if not find_spec(name)]
    if missing:
        return f"{' and '.join(missing)} cannot be found ({install_command('verify')})"
    if _version("transformers") < TRANSFORMERS:
        wanted = ".".join(map(str, TRANSFORMERS))
        return f"transformers is older than {wanted} ({install_command('verify')})"
    if "cpu" not in devices:
        return "it has no graphs for this device"
    needed = 2 * sum(prod(tensor.shape) for tensor in checkpoint.tensors.values())
    free = available_memory()
    if 1.2 * needed > free:
        return (
            f"the original takes {needed / 1e9:.0f} GB in 16 bits and {free / 1e9:.0f} GB of "
            "memory are free (`llava-edge verify` does it on a larger machine)"
        )
    return None


def _version(package: str) -> tuple[int, ...]:
    """Major and minor."""
    return tuple(int(part) for part in version(package).split(".")[:2])


def _verify(
    folder: Path,
    config: BundleConfig,
    checkpoint: Checkpoint,
    records: Sequence[Record] | None,
    check: Check,
) -> BundleConfig:
    from llava_edge.export.verify import compare

    try:
        quality = compare(folder, config, checkpoint, records, check.limits)
    except Exception as error:
        if check.wanted:
            raise
        note(f"The bundle is not verified, since that failed: {' '.join(str(error).split())}")
        return config
    config = replace(config, quality=replace(quality, accepted=check.accept))
    rewrite_bundle_json(folder, config)
    refuse_broken(config)
    return config


def write_bundle(
    checkpoint: Checkpoint, folder: Path, precision: Precision, devices: Sequence[DeviceName]
) -> BundleConfig:
    """Write the files of a bundle into a folder that is there."""
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
        bundle = _describe(checkpoint, decoder, tiles, devices)
        if "gpu" in devices and precision.gpu_cache_bits == 8:
            weights.flush()
            scales = measure_scales(folder, bundle)
            write_decoder(config.text, decoder, folder / decoder_onnx("gpu"), "gpu", scales)
            bundle = replace(bundle, decoder=replace(bundle.decoder, gpu_cache_bits=8))
    return write_bundle_json(folder, bundle)


def _describe(
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
        decoder=_decoder_config(config.text, decoder.embedding()),
        quantization=decoder.quantization(checkpoint.method),
        devices=tuple(devices),
        provenance={**checkpoint.provenance, "exported_by": f"llava-edge {__version__}"},
        files={},
    )


def _note_slow_kernels(folder: Path, devices: Sequence[DeviceName]) -> None:
    """Say which products onnxruntime will compute slowly on an NVIDIA GPU, and why."""
    if "gpu" not in devices:
        return
    kernels = cuda_kernels(folder / decoder_onnx("gpu"))
    reasons = Counter(kernel.reason for kernel in kernels if kernel.name in (GEMV, UNPACKED))
    if reasons:
        listed = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3))
        note(
            f"On NVIDIA GPUs {reasons.total()} of the decoder's products take a slower kernel: "
            f"{listed}."
        )


def _tiles(
    checkpoint: Checkpoint, tensors: Mapping[str, LazyTensor], weights: WeightsBin
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
