"""The tensors of a checkpoint's folder: one file or shards, safetensors or pickled."""

from pathlib import Path

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.formats.pickled_files import open_pickled_file
from llava_edge.export.formats.safetensors_files import (
    DTYPES,
    PACKED_DTYPES,
    open_safetensors_file,
)

# Safetensors first: a folder that has both holds the same twice.
WHOLE = ("model.safetensors", "pytorch_model.bin")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def has_weights(folder: Path) -> bool:
    """Whether the folder holds a model's weights, not just an adapter's or a projector's."""
    names = any((folder / name).exists() for name in (*WHOLE, *INDEXES))
    return names or _only_safetensors(folder) is not None


def open_weights(folder: Path, *, packed: bool = False) -> dict[str, LazyTensor]:
    """Open a folder's weights under the files' own spelling.

    `packed` are files of a quantized checkpoint, which also hold numbers of 8 bits. Raises
    CheckpointError where a file is missing or broken.
    """
    for whole, index in zip(WHOLE, INDEXES, strict=True):
        if (folder / whole).exists():
            return open_file(folder / whole, packed=packed)
        if (folder / index).exists():
            return _open_shards(folder / index, packed=packed)
    only = _only_safetensors(folder)
    if only is not None:
        return open_file(only, packed=packed)
    raise CheckpointError(
        f"{folder} holds none of {', '.join((*WHOLE, *INDEXES))}; give the folder of a whole "
        "checkpoint."
    )


def open_file(path: Path, *, packed: bool = False) -> dict[str, LazyTensor]:
    """Open one file by its kind; raises CheckpointError."""
    dtypes = PACKED_DTYPES if packed else DTYPES
    open_kind = open_pickled_file if path.suffix == ".bin" else open_safetensors_file
    return open_kind(path, dtypes)


def _only_safetensors(folder: Path) -> Path | None:
    """The one file of weights, whatever it is called: AutoGPTQ's is gptq_model-4bit-128g."""
    found = [p for p in folder.glob("*.safetensors") if not p.name.startswith("adapter_model")]
    return found[0] if len(found) == 1 else None


def _open_shards(index: Path, *, packed: bool) -> dict[str, LazyTensor]:
    weight_map = Section.from_file(index).section("weight_map")
    files = sorted({weight_map.text(name) for name in weight_map.values})
    tensors: dict[str, LazyTensor] = {}
    for file in files:
        if Path(file).name != file:
            raise CheckpointError(
                f"{index} names the shard {file}, which does not lie in the checkpoint's own "
                "folder; fetch the checkpoint again."
            )
        shard = open_file(index.parent / file, packed=packed)
        if twice := sorted(tensors.keys() & shard.keys()):
            raise CheckpointError(
                f"{index.parent / file} holds {', '.join(twice[:10])}, which another shard holds "
                "as well; fetch the checkpoint again."
            )
        tensors.update(shard)
    return tensors
