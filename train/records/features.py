"""What the frozen tower yields for each picture, computed once and kept in a file."""

import json
import os
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llava_edge.config import ImageConfig
from llava_edge.errors import PictureError
from llava_edge.image import load_picture, preprocess
from llava_edge.records import PictureFile
from llava_edge.train.recipe import Recipe
from llava_edge.train.records.batches import Devices, Indexes
from llava_edge.train.records.table import RecordTable
from llava_edge.train.watch.track import track

BLOCK = 16  # pictures at once; always the same ones, so that rows are the same bits in every run

Records = tuple[RecordTable, Indexes]  # a table and which of its positions are used
Tower = Callable[[Tensor], Tensor]  # pixels [n, 3, H, W] -> rows [n, T, C]
Where = Callable[[PictureFile], str]  # such as "Record 3, line 40 of train.json"


def shown_again(shown: Sequence[Records], recipe: Recipe) -> list[PictureFile]:
    """Each picture that the tower is shown, once; none where it is shown none a second time."""
    count = sum(int(table.pictures[positions].sum()) for table, positions in shown)
    each = (table.distinct_pictures(positions) for table, positions in shown)
    pictures = list(dict.fromkeys(chain.from_iterable(each)))
    again = any(stage.epochs > 1 for stage in recipe.stages.values())
    return pictures if again or len(pictures) < count else []


def pixels_of(picture: PictureFile, image: ImageConfig, where: Where) -> Tensor:
    """Pixels [3, H, W]; raises PictureError, with the place where the picture is named."""
    try:
        return torch.from_numpy(preprocess(load_picture(picture), image))
    except PictureError as error:
        raise type(error)(f"{where(picture)}: {error}") from error


class Features:
    """Rows of pictures, in a file that is mapped, not read: `features[picture]` is [T, C].

    `create` lays the file out, `fill` computes what is not there yet, a share on each device.
    """

    def __init__(
        self,
        folder: Path,
        pictures: Sequence[PictureFile],
        shape: tuple[int, int],
        dtype: torch.dtype,
        key: str,
    ) -> None:
        self._folder = folder
        self._pictures = list(dict.fromkeys(pictures))
        self._places = {picture: place for place, picture in enumerate(self._pictures)}
        self._header = {
            "key": key,  # of the tower and of what pictures are made into for it
            "pictures": [str(picture) for picture in self._pictures],
            "shape": list(shape),
            "dtype": str(dtype),
        }
        self._shape = (len(self._pictures), *shape)
        self._dtype = dtype
        self._rows: Tensor | None = None

    def __getitem__(self, picture: PictureFile) -> Tensor:
        if self._rows is None:  # mapped anew in each worker process
            self._rows = self._map("rows.bin", self._shape, self._dtype)
        return self._rows[self._places[picture]].clone()

    def __getstate__(self) -> dict[str, Any]:
        """Without the map, which a process would be sent as a copy of the whole file."""
        return {**self.__dict__, "_rows": None}

    @property
    def whole(self) -> bool:
        """Whether all rows are there."""
        return bool(self._map("done.bin", (len(self._blocks),), torch.uint8).all())

    def create(self) -> None:
        """Lay the file out, unless it is there for the same pictures, tower and shape."""
        header = self._folder / "features.json"
        if header.exists() and json.loads(header.read_text()) == self._header:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in (header, self._folder / "rows.bin", self._folder / "done.bin"):
            path.unlink(missing_ok=True)
        self._map("done.bin", (len(self._blocks),), torch.uint8)
        _reserve(self._folder / "rows.bin", torch.Size(self._shape).numel() * self._dtype.itemsize)
        header.write_text(json.dumps(self._header))

    def fill(self, tower: Tower, image: ImageConfig, devices: Devices, where: Where) -> None:
        """Compute the blocks that are this device's share; raises PictureError as `pixels_of`."""
        rows = self._map("rows.bin", self._shape, self._dtype)
        done = self._map("done.bin", (len(self._blocks),), torch.uint8)
        own = range(devices.rank, len(self._blocks), devices.count)
        left = [block for block in own if not done[block]]
        for block in track(left, "Features of pictures") if devices.rank == 0 else left:
            places = self._blocks[block]
            pixels = [pixels_of(self._pictures[at], image, where) for at in places]
            rows[places.start : places.stop] = tower(torch.stack(pixels)).to(self._dtype).cpu()
            done[block] = 1

    @property
    def _blocks(self) -> list[range]:
        count = len(self._pictures)
        return [range(at, min(at + BLOCK, count)) for at in range(0, count, BLOCK)]

    def _map(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        size = torch.Size(shape).numel()
        file = str(self._folder / name)
        return torch.from_file(file, shared=True, size=size, dtype=dtype).view(shape)


def _reserve(file: Path, size: int) -> None:
    """Raise OSError on a full disk; writing to a mapped file of holes would end the process."""
    with file.open("wb") as stream:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, size)
        stream.truncate(size)
