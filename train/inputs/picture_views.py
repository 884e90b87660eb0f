"""What of a picture the tower is shown, and how many image tokens become of it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llava_edge.core.bundle_config import ImageConfig, TilesConfig
from llava_edge.core.picture import load_picture, picture_size, preprocess
from llava_edge.core.tiles import cut, most_rows, row_count, tile_count
from llava_edge.data.picture_folder import PictureFile
from llava_edge.data.record_table import RecordTable
from llava_edge.errors import PictureError, RecordError
from llava_edge.train.inputs.batches import Indexes


@dataclass(frozen=True)
class PictureViews:
    """One view of a picture or, with LLaVA-NeXT's tiles, the whole picture and each tile."""

    image: ImageConfig
    rows: int  # that the tower yields for a view
    tiles: TilesConfig | None = None

    def pixels(self, picture: PictureFile) -> Tensor:
        """Pixels [views, 3, H, W]; raises PictureError."""
        loaded = load_picture(picture)
        if self.tiles is None:
            return torch.from_numpy(preprocess(loaded, self.image))[None]
        return torch.from_numpy(cut(loaded, self.image, self.tiles))

    def count(self, picture: PictureFile) -> int:
        """How many views there are; only with tiles the picture is looked at."""
        if self.tiles is None:
            return 1
        return 1 + tile_count(picture_size(picture), self.image, self.tiles)

    def image_tokens(self, picture: PictureFile) -> int:
        """How many image tokens there are; only with tiles the picture is looked at."""
        if self.tiles is None:
            return self.rows
        return row_count(picture_size(picture), self.rows, self.image, self.tiles)

    @property
    def most(self) -> int:
        """The most views of any picture."""
        if self.tiles is None:
            return 1
        area = max(height * width for height, width in self.tiles.grid_pinpoints)
        return 1 + area // self.image.size**2

    @property
    def most_image_tokens(self) -> int:
        """The most image tokens of any picture."""
        if self.tiles is None:
            return self.rows
        return most_rows(self.rows, self.image, self.tiles)


def image_tokens_of(table: RecordTable, positions: Indexes, views: PictureViews) -> Indexes:
    """The image tokens of each record [positions]; a picture that is broken counts as the largest.

    With tiles, the header of every picture is read.
    """
    if views.tiles is None:
        return table.pictures[positions].astype(np.int64) * views.rows
    pictured = np.flatnonzero(table.pictures[positions])
    tokens = np.zeros(len(positions), np.int64)
    for place in pictured.tolist():
        tokens[place] = _of_record(table, int(positions[place]), views)
    return tokens


def _of_record(table: RecordTable, position: int, views: PictureViews) -> int:
    try:
        return sum(map(views.image_tokens, table[position].images))
    except (PictureError, RecordError):
        return int(table.pictures[position]) * views.most_image_tokens
