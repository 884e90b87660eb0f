"""A LLaVA with an adapter merged: its tensors, its vocabulary and its tokenizer."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from llava_edge.errors import CheckpointError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.layouts.adapter_tensors import Adapter
from llava_edge.export.layouts.lora import merge
from llava_edge.export.layouts.lora_pair import without_beginning
from llava_edge.export.layouts.opened_layout import OpenedLayout
from llava_edge.export.layouts.tensor_names import EMBEDDING_TABLE, HEAD
from llava_edge.hub.preprocessor_config import (
    has_preprocessing,
    read_preprocessor_config,
)
from llava_edge.hub.tokenizer_file import has_tokenizer, read_tokenizer_file

Tensors = Mapping[str, LazyTensor]


def adapt(source: OpenedLayout, adapter: Adapter, folder: Path) -> OpenedLayout:
    """Merge the adapter of `folder`, whose own tokenizer and preprocessing win over its base's.

    Raises CheckpointError where they do not fit.
    """
    tensors: Tensors = source.tensors
    if source.config.text.tied:
        tensors, adapter = _apart(tensors, adapter)
    merged = _as_long(merge(tensors, adapter, folder), adapter, folder)
    tied = HEAD not in merged
    rows = merged[EMBEDDING_TABLE].shape[0]
    text = replace(source.config.text, tied=tied, vocab_size=rows)
    source = replace(
        source,
        config=replace(source.config, text=text),
        tensors=merged,
        loads_in_transformers=False,
        provenance={**source.provenance, "adapter": "LoRA"},
    )
    if not (folder / "config.json").exists() and has_preprocessing(folder):
        tower = source.config.tower
        image = read_preprocessor_config(folder, tower.usual, tower.image_size)
        tower = tower.shown(image.size)
        source = replace(source, image=image, config=replace(source.config, tower=tower))
    if has_tokenizer(folder):
        source = replace(source, tokenizer=read_tokenizer_file(folder), tokenizer_from=folder)
    return source


def _apart(tensors: Tensors, adapter: Adapter) -> tuple[Tensors, Adapter]:
    """Give a head that is the embedding table a tensor of its own, where the adapter parts them.

    As in peft's own forward pass: what lies over a layer is the layer's alone, and what replaces
    the base's tensor replaces both.
    """
    base, pairs = dict(adapter.base), dict(adapter.pairs)
    if HEAD in base:
        base[EMBEDDING_TABLE] = base.pop(HEAD)
    if adapter.stays_tied:
        pairs.pop(HEAD, None)
        saved = {name: tensor for name, tensor in adapter.saved.items() if name != HEAD}
        return tensors, replace(adapter, base=base, pairs=pairs, saved=saved)
    if {EMBEDDING_TABLE, HEAD} & {*pairs, *adapter.saved} or HEAD in adapter.rows:
        table = base.pop(EMBEDDING_TABLE, tensors[EMBEDDING_TABLE])
        if HEAD in pairs:
            table = without_beginning(table, pairs[HEAD])
            pairs[HEAD] = replace(pairs[HEAD], residual=None)
        tensors = {**tensors, EMBEDDING_TABLE: table, HEAD: table}
    return tensors, replace(adapter, base=base, pairs=pairs)


def _as_long(
    tensors: dict[str, LazyTensor], adapter: Adapter, folder: Path
) -> dict[str, LazyTensor]:
    """Cut the base's table, or its head, to the rows that the adapter left of the other."""
    brought = {*adapter.base, *adapter.saved, *adapter.rows}
    lengths = {name: tensors[name].shape[0] for name in (EMBEDDING_TABLE, HEAD) if name in tensors}
    rows = min(lengths.values())
    for name, length in lengths.items():
        if length > rows and name in brought:
            raise CheckpointError(
                f"The adapter in {folder} brings {name} with {length:,} rows, but the other table "
                f"of the vocabulary has {rows:,}; train and save both (modules_to_save)."
            )
    return tensors | {
        name: LazyTensor((rows, *tensors[name].shape[1:]), partial(_first, tensors[name], rows))
        for name, length in lengths.items()
        if length > rows
    }


def _first(table: LazyTensor, rows: int) -> NDArray[Any]:
    return table.read()[:rows]
