"""The tensors of an adapter's file, sorted by what they do to the base."""

from collections import defaultdict
from collections.abc import Collection, Mapping
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
    modules, full = _sorted(path)
    _check_whole(config, full, path, empty=not modules)
    copies = {name for name in full if config.is_saved(name.rpartition(".")[0])}
    base = {canonical(name): tensor for name, tensor in full.items() if name not in copies}
    pairs, rows, wrong = {}, {}, list[str]()
    for module, parts in modules.items():
        weight = canonical(module + ".weight")
        if set(parts) == {_ROWS}:
            rows[weight] = TrainedRows(config.ids(module), parts[_ROWS])
        elif pair := _pair(config, module, parts, stored=weight in base):
            pairs[weight] = pair
        else:
            wrong.append(" ".join([module, *(str(list(part.shape)) for part in parts.values())]))
    if wrong:
        raise _not_lora(path, wrong, f" as {config.section.where} describes them")
    saved = {canonical(name): full[name] for name in copies}
    return Adapter(pairs, base, saved, rows, config.stays_tied)


def _sorted(path: Path) -> tuple[dict[str, dict[str, LazyTensor]], dict[str, LazyTensor]]:
    """What lies over a module, by its name and suffix; and whole tensors, by their names."""
    modules: dict[str, dict[str, LazyTensor]] = defaultdict(dict)
    full: dict[str, LazyTensor] = {}
    tensors = open_file(path)
    if wrong := [key for key in tensors if not key.startswith(PREFIX)]:
        raise _not_lora(path, wrong)
    for key, tensor in sorted(tensors.items(), key=lambda item: item[0]):
        name = key.removeprefix(PREFIX)
        suffix = next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), None)
        if suffix is None:
            full[name.replace(_BASE_LAYER, ".")] = tensor
        else:
            modules[name.removesuffix(suffix)][suffix] = tensor
    return modules, full


def _not_lora(path: Path, names: list[str], how: str = "") -> CheckpointError:
    return CheckpointError(
        f"{path} holds tensors that are no pair of LoRA matrices{how}: "
        f"{', '.join(sorted(names)[:10])}; save the adapter with peft."
    )


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


def _check_whole(config: AdapterConfig, full: Collection[str], path: Path, *, empty: bool) -> None:
    """Refuse a file without what was trained, which some ways to save an adapter leave out."""
    lost = [name for name in config.saved_modules if not any(f"{name}." in key for key in full)]
    if lost or (empty and not full):
        raise CheckpointError(
            f"{path} holds nothing of {', '.join(lost) or 'an adapter'}, which "
            f"{config.section.where} says was trained; save the adapter with peft again."
        )
