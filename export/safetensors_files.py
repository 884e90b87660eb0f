"""The tensors of a folder of safetensors files, one file or sharded, read one at a time."""

from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  (numpy knows bfloat16 once this is imported)
import numpy as np
from safetensors import SafetensorError, safe_open

from llava_edge.errors import CheckpointError
from llava_edge.export.checkpoint_section import Section
from llava_edge.export.lazy_tensor import LazyTensor

DTYPES = ("F16", "BF16", "F32")
COUNTERS = "I64"  # buffers such as position_ids, of no use here
INDEX = "model.safetensors.index.json"


def open_folder(folder: Path) -> dict[str, LazyTensor]:
    """Open `model.safetensors`, or the shards that its index names, under the files' own spelling.

    Raises CheckpointError where a file is missing or broken.
    """
    if (folder / "model.safetensors").exists():
        return open_file(folder / "model.safetensors")
    if (folder / INDEX).exists():
        return _open_shards(folder)
    pickled = next(iter(sorted(folder.glob("*.bin"))), None)
    if pickled is not None:
        raise CheckpointError(
            f"{folder} holds pickled weights ({pickled.name}), which export does not load since "
            "they can run code; convert the checkpoint to safetensors."
        )
    raise CheckpointError(
        f"{folder} holds neither model.safetensors nor {INDEX}; give the folder of a whole "
        "checkpoint."
    )


def open_file(path: Path) -> dict[str, LazyTensor]:
    """Raises CheckpointError where the file is missing, cut short or no safetensors file."""
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
            dtypes = {name: part.get_dtype() for name, part in slices.items()}
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; fetch the whole checkpoint.") from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} is no whole safetensors file ({error}); fetch it anew."
        ) from None
    for name, dtype in dtypes.items():
        if dtype not in (*DTYPES, COUNTERS):
            raise CheckpointError(
                f"{path} holds {name} as {dtype}, but {', '.join(DTYPES)} are what export "
                "supports; give the checkpoint in 16 or 32 bits."
            )
    return {name: LazyTensor(shape, partial(_read, path, name)) for name, shape in shapes.items()}


def _open_shards(folder: Path) -> dict[str, LazyTensor]:
    weight_map = Section.from_file(folder / INDEX).section("weight_map")
    files = sorted({weight_map.text(name) for name in weight_map.values})
    for file in files:
        if Path(file).name != file:
            raise CheckpointError(
                f"{folder / INDEX} names the shard {file}, which does not lie in the checkpoint's "
                "own folder; fetch the checkpoint anew."
            )
    tensors: dict[str, LazyTensor] = {}
    for file in files:
        tensors.update(open_file(folder / file))
    return tensors


def _read(path: Path, name: str) -> np.ndarray[Any, Any]:
    """Opened anew for each tensor: a mapping that stays open counts as memory once touched."""
    try:
        with safe_open(path, framework="numpy") as file:
            tensor: np.ndarray[Any, Any] = file.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{name} can no longer be read from {path} ({error}); leave the checkpoint in place "
            "while it is exported."
        ) from None
    return tensor
