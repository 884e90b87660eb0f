"""Checkpoints that were quantized before: which library's format they have, and their tensors."""

from collections.abc import Callable, Mapping
from pathlib import Path

from llava_edge.core.bundle_config import QuantizedBefore
from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.formats.auto_round import read_auto_round
from llava_edge.export.formats.awq import read_awq
from llava_edge.export.formats.bitsandbytes import Bitsandbytes
from llava_edge.export.formats.compressed_tensors import read_compressed_tensors
from llava_edge.export.formats.fp8 import read_fp8
from llava_edge.export.formats.gptq import read_gptq
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.formats.quantized_layers import WAY_OUT, PackedFormat
from llava_edge.export.formats.safetensors_files import DTYPES
from llava_edge.export.formats.weight_files import open_weights

_FILES = ("quantize_config.json", "quantization_config.json", "quant_config.json")
_READERS: Mapping[str, Callable[[Section], PackedFormat]] = {
    "gptq": read_gptq,
    "awq": read_awq,
    "auto-round": read_auto_round,
    "bitsandbytes": lambda _: Bitsandbytes(),
    "compressed-tensors": read_compressed_tensors,
    "fp8": read_fp8,
}


def open_model_weights(
    folder: Path, config: Section
) -> tuple[dict[str, LazyTensor], QuantizedBefore | None]:
    """A folder's weights under the files' own spelling, and what quantized any of them.

    `config` is its config.json. Raises CheckpointError where a file is missing or broken, or a
    format is not supported.
    """
    packed = read_packed_format(folder, config)
    if packed is None:
        return open_weights(folder), None
    tensors = unpack(open_weights(folder, packed=True), packed, folder)
    quantized = any(tensor.blocks or tensor.unkept for tensor in tensors.values())
    return tensors, packed.method if quantized else None


def read_packed_format(folder: Path, config: Section) -> PackedFormat | None:
    """What config.json, or a file beside it, says of a quantized checkpoint; None of any other.

    Raises CheckpointError for formats that cannot be imported.
    """
    section = _section(folder, config)
    if section is None:
        return None
    kind = _kind(section)
    if kind not in _READERS:
        raise CheckpointError(
            f"{section.where} describes weights quantized by {kind}, but export reads "
            f"{', '.join(_READERS)}; {WAY_OUT}."
        )
    return _READERS[kind](section)


def unpack(
    tensors: Mapping[str, LazyTensor], packed: PackedFormat, folder: Path
) -> dict[str, LazyTensor]:
    """Tensors with `.weight` in the place of each quantized layer's parts.

    Raises CheckpointError where a part is missing, misshapen or belongs to no quantized layer.
    """
    result = packed.unpack(tensors, folder)
    strays = [name for name, tensor in result.items() if tensor.dtype not in ("", *DTYPES)]
    if strays:
        raise CheckpointError(
            f"{folder} holds {', '.join(strays[:10])} as {result[strays[0]].dtype} without what "
            f"{packed.method} needs beside it; fetch the whole checkpoint."
        )
    return result


def _section(folder: Path, config: Section) -> Section | None:
    inner = [config.section("text_config")] if config.has("text_config") else []
    for where in (config, *inner):
        if where.has("quantization_config"):
            return where.section("quantization_config")
    path = next((folder / name for name in _FILES if (folder / name).exists()), None)
    return None if path is None else Section.from_file(path)


def _kind(section: Section) -> str:
    """The library's own name of the format; files of before there were names are told by keys."""
    if not section.has("quant_method"):
        if section.has("load_in_4bit") or section.has("load_in_8bit"):
            return "bitsandbytes"
        return "awq" if section.has("w_bit") else "gptq"
    kind = section.text("quant_method").lower().replace("_", "-")
    return "auto-round" if "auto-round" in kind else kind
