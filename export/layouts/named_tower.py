"""A vision tower in a folder of its own, of which a checkpoint holds nothing, a part or all."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.formats.weight_files import open_weights
from llava_edge.export.layouts.tensor_names import respell
from llava_edge.export.progress_bars import note
from llava_edge.export.towers.vision_tower import TOWER, VisionTower

Tensors = Mapping[str, LazyTensor]


def is_whole(tensors: Tensors, tower: VisionTower, feature_layers: Sequence[int]) -> bool:
    """Whether a checkpoint needs no other folder for its tower."""
    return all(name in tensors for name, _ in tower.shapes(feature_layers))


def laid_over_tower(
    tensors: Tensors, folder: Path, tower: VisionTower, feature_layers: Sequence[int]
) -> dict[str, LazyTensor]:
    """A checkpoint's tensors, and from the tower's `folder` those that it lacks.

    A text model beside the tower is left out. Raises CheckpointError.
    """
    wanted = [name for name, _ in tower.shapes(feature_layers)]
    if kept := [name for name in wanted if name in tensors]:
        note(
            f"The checkpoint holds {len(kept)} of the {len(wanted)} tensors of its vision tower; "
            f"the others are those of {folder}."
        )
    named = respell({f"{TOWER}.{name}": t for name, t in open_weights(folder).items()}, folder)
    parts = {name.split(".")[1] for name in wanted}
    return {**{name: t for name, t in named.items() if name.split(".")[1] in parts}, **tensors}
