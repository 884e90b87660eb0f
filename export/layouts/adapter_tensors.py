"""The tensors of an adapter's file, sorted by what they do to the base."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from llava_edge.errors import CheckpointError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.formats.weight_files import open_file
from llava_edge.export.layouts.adapter_config import AdapterConfig
from llava_edge.export.layouts.lora_pair import Pair
from llava_edge.export.layouts.tensor_names import canonical
from llava_edge.export.layouts.trained_rows import TrainedRows

PREFIX = "base_model.model."
_BASE_LAYER = ".base_layer."  # between a module and its own tensors, where matrices adapt it
_A, _B = ".lora_A.weight", ".lora_B.weight"
_EMBEDDING_A, _EMBEDDING_B = ".lora_embedding_A", ".lora_embedding_B"
_MAGNITUDE = ".lora_magnitude_vector"
_ROWS = ".token_adapter.trainable_tokens_delta"
_SUFFIXES = (_A, _B, _EMBEDDING_A, _EMBEDDING_B, _MAGNITUDE, _ROWS)


@dataclass(frozen=True)
class Adapter:
    """What an adapter changes, by the canonical names of the base's tensors.

    In this order: `base` takes their place, `pairs` are merged into them, `saved` (copies that
    were trained in full) take their place, and `rows` that of some of their rows.
    """

    pairs: Mapping[str, Pair]
    base: Mapping[str, LazyTensor] = field(default_factory=dict)
    saved: Mapping[str, LazyTensor] = field(default_factory=dict)
    rows: Mapping[str, TrainedRows] = field(default_factory=dict)
    stays_tied: bool = False  # a head that is the embedding table changes as the table does


def read_adapter(config: AdapterConfig, path: Path) -> Adapter:
    """Raises CheckpointError where the file is broken or does not hold what `config` says."""
    modules: dict[str, dict[str, LazyTensor]] = defaultdict(dict)
    base, saved, full, wrong = {}, {}, set[str](), list[str]()
    for key, tensor in open_file(path).items():
        name = key.removeprefix(PREFIX)
        suffix = next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), None)
        if not key.startswith(PREFIX):
            wrong.append(key)
        elif suffix is not None:
            modules[name.removesuffix(suffix)][suffix] = tensor
        else:
            name = name.replace(_BASE_LAYER, ".")
            full.add(name)
            kind = saved if config.is_saved(name.rpartition(".")[0]) else base
            kind[canonical(name)] = tensor
    pairs, rows = {}, {}
    for module, parts in modules.items():
        weight = canonical(module + ".weight")
        pair = None
        if set(parts) == {_ROWS}:
            rows[weight] = TrainedRows(config.ids(module), parts[_ROWS])
        elif pair := _pair(config, module, parts, stored=weight in base):
            pairs[weight] = pair
        else:
            wrong.append(" ".join([module, *(str(list(part.shape)) for part in parts.values())]))
    if wrong:
        raise CheckpointError(
            f"{path} holds tensors that are no pair of LoRA matrices as {config.section.where} "
            f"describes them: {', '.join(sorted(wrong)[:10])}; save the adapter with peft."
        )
    _check_whole(config, full, path, empty=not modules)
    return Adapter(dict(sorted(pairs.items())), base, saved, rows, config.stays_tied)


def _pair(
    config: AdapterConfig, module: str, parts: Mapping[str, LazyTensor], *, stored: bool
) -> Pair | None:
    """A module's pair, or None where its parts are not what its configuration asks for.

    A base that is `stored` beside the pair has lost already what the pair began with.
    """
    is_embedding = _EMBEDDING_A in parts
    names = (_EMBEDDING_B, _EMBEDDING_A) if is_embedding else (_A, _B)
    if set(parts) != {*names, *([_MAGNITUDE] if config.dora else [])}:
        return None
    a, b = (_transposed(parts[name]) if is_embedding else parts[name] for name in names)
    rank, magnitude = config.rank(module), parts.get(_MAGNITUDE)
    if len(a.shape) != 2 or a.shape[0] != rank or b.shape[1:] != (rank,):
        return None
    if magnitude and magnitude.shape != (a.shape[1] if is_embedding else b.shape[0],):
        return None
    residual = None if stored or is_embedding else config.residual
    return Pair(a, b, config.scale(module), residual, magnitude, is_embedding)


def _transposed(tensor: LazyTensor) -> LazyTensor:
    return LazyTensor(tensor.shape[::-1], lambda: tensor.read().T)


def _check_whole(config: AdapterConfig, full: set[str], path: Path, *, empty: bool) -> None:
    """Refuse a file without what was trained, which some ways to save an adapter leave out."""
    lost = [name for name in config.saved_modules if not any(f"{name}." in key for key in full)]
    if lost or (empty and not full):
        raise CheckpointError(
            f"{path} holds nothing of {', '.join(lost) or 'an adapter'}, which "
            f"{config.section.where} says was trained; save the adapter with peft again."
        )
