"""What a run trains on: its tables of records, the usable ones, and the pictures' features."""

import hashlib
import shutil
from collections.abc import Sequence
from math import prod
from pathlib import Path

import torch
from rich.console import Console

from llava_edge.data.picture_folder import PictureFile
from llava_edge.data.record_table import RecordTable
from llava_edge.errors import PictureError, TrainingError
from llava_edge.train.inputs.batches import Devices, Indexes
from llava_edge.train.inputs.check_records import usable_rows
from llava_edge.train.inputs.dataset import RecordDataset
from llava_edge.train.inputs.labels import Encoding
from llava_edge.train.inputs.picture_features import Features, Records, shown_again
from llava_edge.train.inputs.record_encoder import Encoder
from llava_edge.train.models.learner import Learner, compute_dtype, tower_rows
from llava_edge.train.recipe import Recipe, Stage
from llava_edge.train.recipe_tables import RecipeTables


class RunData:
    """A run's records, stage by stage, and the features of their pictures.

    All tables of the recipe must be there. Raises RecordError or TrainingError if records
    cannot be used, as the recipe says.
    """

    def __init__(
        self, recipe: Recipe, tables: RecipeTables, encoding: Encoding, console: Console
    ) -> None:
        self._recipe = recipe
        self._encoding = encoding
        self._console = console
        self.features: Features | None = None
        self.warm_start = self._usable(tables.warm_start) if tables.warm_start else None
        self._train: dict[str, Records] = {}
        self._held_out: dict[str, Records] = {}
        for name, stage in recipe.stages.items():
            self._train[name] = self._usable(tables.train[name], stage)
            if name in tables.held_out:
                self._held_out[name] = self._usable(tables.held_out[name], stage)

    @property
    def fingerprints(self) -> dict[str, str]:
        """A fingerprint of the records that each stage and the warm start use."""
        parts = self._train | ({"warm_start": self.warm_start} if self.warm_start else {})
        return {name: _fingerprint(table, positions) for name, (table, positions) in parts.items()}

    def datasets(self, name: str) -> tuple[RecordDataset, RecordDataset | None]:
        """A stage's training records, and those held out from it."""
        encoder = Encoder.of_stage(self._encoding, self._recipe, self._recipe.stages[name])
        features = None if self._recipe.stages[name].vision_tower_lr else self.features
        train = RecordDataset(self._train[name][0], encoder, self._train[name][1], features)
        if name not in self._held_out:
            return train, None
        return train, RecordDataset(self._held_out[name][0], encoder, self._held_out[name][1])

    def lay_out_features(self, learner: Learner) -> None:
        """Make the file of the tower's rows, if a picture is seen again and the rows of all fit."""
        recipe = self._recipe
        if self.features is not None or not recipe.feature_cache:
            return
        pictures = shown_again(self._shown, recipe)
        shape, dtype = learner.feature_shape, compute_dtype(recipe)
        counts = self._view_counts(pictures)
        needed = sum(counts) * prod(shape) * dtype.itemsize
        if not pictures or needed > min(recipe.feature_cache * 1e9, _free(recipe.out / "features")):
            return
        folder, key = recipe.out / "features", _key(learner)
        self.features = Features(folder, pictures, counts, shape, dtype, key)
        self.features.create()

    def fill_features(self, learner: Learner, devices: Devices) -> None:
        """Compute this device's share of the features."""
        if self.features is None:
            return
        self.features.fill(
            lambda pixels: tower_rows(learner.model, pixels),
            learner.encoding.views,
            devices,
            self._first_naming,
        )

    def require_features(self) -> None:
        """Raise TrainingError unless the file is complete, when every device has done its share."""
        if self.features is not None and not self.features.whole:
            raise TrainingError(
                f"{self._recipe.out / 'features'} lacks what other processes computed; give all "
                "machines one folder as out, or set feature_cache = 0."
            )

    def _usable(self, table: RecordTable, stage: Stage | None = None) -> Records:
        recipe, encoder = self._recipe, None
        if stage and recipe.bad_records != "stop":
            encoder = Encoder.of_stage(self._encoding, recipe, stage)
        return table, usable_rows(table, recipe, encoder, console=self._console)

    def _view_counts(self, pictures: Sequence[PictureFile]) -> list[int]:
        """How many views each picture has; raises PictureError, which says where it is named."""
        counts = []
        for picture in pictures:
            try:
                counts.append(self._encoding.views.count(picture))
            except PictureError as error:
                raise type(error)(f"{self._first_naming(picture)}: {error}") from error
        return counts

    def _first_naming(self, picture: PictureFile) -> str:
        """Where the first record that names a picture stands."""
        entries = (table.entry(int(at)) for table, positions in self._shown for at in positions)
        return next(entry.where for entry in entries if picture in entry.pictures)

    @property
    def _shown(self) -> list[Records]:
        """All records whose pictures a frozen tower is shown, held-out ones left out."""
        stages = self._recipe.stages
        train = [self._train[name] for name in stages if not stages[name].vision_tower_lr]
        return [*train, *([self.warm_start] if self.warm_start else [])]


def _fingerprint(table: RecordTable, positions: Indexes) -> str:
    if len(positions) == len(table):
        return table.fingerprint
    return hashlib.sha256(table.fingerprint.encode() + positions.tobytes()).hexdigest()


def _key(learner: Learner) -> str:
    """A hash of all that the tower's rows depend on: its weights and what is asked of it."""
    config, digest = learner.model.config, hashlib.sha256()
    for name, tensor in learner.model.model.vision_tower.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).cpu().numpy())
    asked = (config.vision_feature_layer, config.vision_feature_select_strategy)
    return f"{digest.hexdigest()} {asked} {learner.encoding.views}"


def _free(folder: Path) -> int:
    """Bytes of disk for a file of features, the space of an earlier one included."""
    blocks = sum(getattr(file.stat(), "st_blocks", 0) for file in folder.glob("*"))
    held = blocks * 512  # which a file of holes does not have yet
    return shutil.disk_usage(folder.parent).free + held
