"""The tensors of safetensors files, read one at a time."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from llava_edge.errors import CheckpointError
from llava_edge.export.formats.lazy_tensor import LazyTensor

# The integers are quantized weights, and buffers such as position_ids, of no use here.
DTYPES = ("F16", "BF16", "F32", "I64", "I32")
PACKED_DTYPES = (*DTYPES, "U8", "I8", "F8_E4M3")  # which quantized layers also consist of


def open_safetensors_file(path: Path, dtypes: tuple[str, ...] = DTYPES) -> dict[str, LazyTensor]:
    """Raises CheckpointError where the file is missing, cut short or no safetensors file.

    Tensors that overlap make a file no safetensors file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
            found = {name: part.get_dtype() for name, part in slices.items()}
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; fetch the whole checkpoint.") from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} is damaged, or no safetensors file ({error}); fetch it again."
        ) from None
    for name, dtype in found.items():
        if dtype not in dtypes:
            raise CheckpointError(
                f"{path} holds {name} as {dtype}, but {', '.join(dtypes)} are what export "
                "supports; give the checkpoint in 16 or 32 bits."
            )
    return {
        name: LazyTensor(shape, partial(_read, path, name), dtype=found[name])
        for name, shape in shapes.items()
    }


def _read(path: Path, name: str) -> np.ndarray[Any, Any]:
    """Opened anew for each tensor: a mapping that stays open counts as memory once touched."""
    try:
        with safe_open(path, framework="numpy") as file:
            if file.get_slice(name).get_dtype() == "F8_E4M3":
                return _read_float8(path, name)
            tensor: np.ndarray[Any, Any] = file.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{name} can no longer be read from {path} ({error}); leave the checkpoint in place "
            "while it is exported."
        ) from None
    return tensor


def _read_float8(path: Path, name: str) -> np.ndarray[Any, Any]:
    """From the file itself: safetensors makes no numpy array of this type."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))[name]
        start, end = header["data_offsets"]
        file.seek(8 + size + start)
        data = file.read(end - start)
    return np.frombuffer(data, ml_dtypes.float8_e4m3fn).reshape(header["shape"])
