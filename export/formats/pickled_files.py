"""Tensors in files that torch has pickled, read one at a time by its weights-only loader."""

import zipfile
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from llava_edge.errors import CheckpointError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.formats.safetensors_files import DTYPES

_NAMES = {
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "int64": "I64",
    "int32": "I32",
    "uint8": "U8",
    "int8": "I8",
    "float8_e4m3fn": "F8_E4M3",
}
_UNKNOWN_TO_NUMPY: dict[str, tuple[str, Any]] = {  # torch's integers of the same bits
    "BF16": ("int16", ml_dtypes.bfloat16),
    "F8_E4M3": ("uint8", ml_dtypes.float8_e4m3fn),
}


def open_pickled_file(path: Path, dtypes: tuple[str, ...] = DTYPES) -> dict[str, LazyTensor]:
    """Open a .bin file that holds a dictionary of tensors; no code in it is run.

    Raises CheckpointError where torch is not installed, or the file is missing, broken or holds
    anything else.
    """
    tensors = _load(path)
    wrong = [
        f"{name} ({getattr(tensor, 'dtype', type(tensor).__name__)})"
        for name, tensor in tensors.items()
        if _dtype(tensor) not in dtypes
    ]
    if wrong:
        raise CheckpointError(
            f"{path} holds {', '.join(wrong[:10])}, but tensors of {', '.join(dtypes)} are what "
            "export supports; save the checkpoint again."
        )
    return {
        name: LazyTensor(tuple(tensor.shape), partial(_read, path, name), dtype=_dtype(tensor))
        for name, tensor in tensors.items()
    }


def _dtype(tensor: object) -> str:
    """safetensors' name of a tensor's numbers, or nothing."""
    return _NAMES.get(str(getattr(tensor, "dtype", "")).removeprefix("torch."), "")


def _read(path: Path, name: str) -> np.ndarray[Any, Any]:
    tensor = _load(path)[name].detach().contiguous()
    unknown = _UNKNOWN_TO_NUMPY.get(_dtype(tensor))
    if unknown is not None:
        integers = tensor.view(getattr(import_module("torch"), unknown[0])).numpy()
        return np.array(integers).view(unknown[1])
    return np.array(tensor.numpy())


def _load(path: Path) -> dict[str, Any]:
    """The file's tensors, whose numbers stay on disk until they are touched."""
    try:
        torch = import_module("torch")
    except ImportError:
        raise CheckpointError(
            f"{path} is pickled, which only torch reads; run `pip install torch`, or save "
            "the checkpoint as safetensors."
        ) from None
    zipped = zipfile.is_zipfile(path)  # torch's format since 1.6; older files cannot be mapped
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; fetch the whole checkpoint.") from None
    except Exception as error:  # torch raises many kinds on broken files and forbidden code
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} is damaged, or holds more than tensors ({reason}); fetch it again, or save "
            "the checkpoint as safetensors."
        ) from None
    if not isinstance(tensors, dict):
        raise CheckpointError(
            f"{path} holds a {type(tensors).__name__}, but a dictionary of tensors was expected; "
            "give a checkpoint that torch.save wrote."
        )
    return tensors
