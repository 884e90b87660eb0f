"""What the frozen tower computes of each picture, once, kept in a file."""

import json
from collections.abc import Callable, Sequence
from itertools import accumulate, chain
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from llava_edge.data.picture_folder import PictureFile
from llava_edge.data.record_table import RecordTable
from llava_edge.errors import PictureError
from llava_edge.train.inputs.batches import Devices, Indexes
from llava_edge.train.inputs.picture_views import PictureViews
from llava_edge.train.recipe import Recipe
from llava_edge.train.watch.terminal_bars import track

BLOCK = 16  # pictures at once; always the same ones, so that rows are the same bits in every run
ROWS, DONE = "rows.bin", "done.bin"

Records = tuple[RecordTable, Indexes]  # a table and which of its positions are used
TowerRows = Callable[[Tensor], Tensor]  # pixels [n, 3, H, W] -> rows [n, T, C]
Where = Callable[[PictureFile], str]  # such as "Record 3, line 40 of train.json"


def shown_again(shown: Sequence[Records], recipe: Recipe) -> list[PictureFile]:
    """The pictures that the frozen tower is shown; none if it is shown none a second time."""
    count = sum(int(table.pictures[positions].sum()) for table, positions in shown)
    each = (table.distinct_pictures(positions) for table, positions in shown)
    pictures = list(dict.fromkeys(chain.from_iterable(each)))
    frozen = (stage for stage in recipe.stages.values() if not stage.vision_tower_lr)
    again = any(stage.epochs > 1 for stage in frozen)
    return pictures if again or len(pictures) < count else []


def pixels_of(picture: PictureFile, views: PictureViews, where: Where) -> Tensor:
    """Pixels [views, 3, H, W]; raises PictureError, which says where the picture is named."""
    try:
        return views.pixels(picture)
    except PictureError as error:
        raise type(error)(f"{where(picture)}: {error}") from error


class Features:
    """Rows of pictures, in a file read picture by picture: `features[picture]` is [n, T, C].

    `counts` has each picture's n views, and `shape` the T and C of a view.
    `create` makes the file, and on each device `fill` computes a share of what is missing. The
    file is not mapped into memory: its pages would count as memory that the run takes, and
    writing to a mapped file on a full disk would end the process without a word.
    """

    def __init__(
        self,
        folder: Path,
        pictures: Sequence[PictureFile],
        counts: Sequence[int],
        shape: tuple[int, int],
        dtype: torch.dtype,
        key: str,
    ) -> None:
        self._folder = folder
        views = dict(zip(pictures, counts, strict=True))
        self._pictures = list(views)
        self._places = {picture: place for place, picture in enumerate(self._pictures)}
        self._starts = [0, *accumulate(views.values())]  # in views
        self._header = {
            "key": key,  # of the tower and of what pictures are made into for it
            "pictures": [str(picture) for picture in self._pictures],
            "views": list(views.values()),
            "shape": list(shape),
            "dtype": str(dtype),
        }
        self._shape = shape
        self._dtype = dtype
        self._bytes = prod(shape) * dtype.itemsize  # of a view

    def __getitem__(self, picture: PictureFile) -> Tensor:
        with (self._folder / ROWS).open("rb") as file:
            place = self._places[picture]
            start, stop = self._starts[place], self._starts[place + 1]
            file.seek(start * self._bytes)
            rows = bytearray(file.read((stop - start) * self._bytes))
        return torch.frombuffer(rows, dtype=self._dtype).view(-1, *self._shape)

    @property
    def whole(self) -> bool:
        """Whether all rows are there."""
        return bool(self._done().all())

    def create(self) -> None:
        """Make the file, unless it is there for the same pictures, tower and shape."""
        header = self._folder / "features.json"
        if header.exists() and json.loads(header.read_text()) == self._header:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        header.unlink(missing_ok=True)
        sizes = {ROWS: self._starts[-1] * self._bytes, DONE: len(self._blocks)}
        for name, size in sizes.items():
            with (self._folder / name).open("wb") as file:
                file.truncate(size)
        header.write_text(json.dumps(self._header))

    def fill(self, tower: TowerRows, views: PictureViews, devices: Devices, where: Where) -> None:
        """Compute the blocks that are this device's share; raises PictureError like `pixels_of`."""
        done = self._done()
        own = range(devices.rank, len(self._blocks), devices.count)
        left = [block for block in own if not done[block]]
        with (self._folder / ROWS).open("r+b") as file:
            for block in track(left, "Features of pictures") if devices.rank == 0 else left:
                places = self._blocks[block]
                pixels = [pixels_of(self._pictures[at], views, where) for at in places]
                rows = tower(torch.cat(pixels)).to(self._dtype).cpu().contiguous()
                file.seek(self._starts[places.start] * self._bytes)
                file.write(rows.view(torch.uint8).numpy())
                file.flush()
                done[block] = 1

    @property
    def _blocks(self) -> list[range]:
        count = len(self._pictures)
        return [range(at, min(at + BLOCK, count)) for at in range(0, count, BLOCK)]

    def _done(self) -> Tensor:
        """Which blocks are computed [blocks], 0 or 1; mapped: what is set here goes to the file."""
        file = str(self._folder / DONE)
        return torch.from_file(file, shared=True, size=len(self._blocks), dtype=torch.uint8)
