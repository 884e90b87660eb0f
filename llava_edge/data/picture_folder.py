"""Where the pictures are that records name: files of a folder, or members of .tar shards."""

import os
from functools import cached_property
from pathlib import Path

from llava_edge.core.picture import TarMember
from llava_edge.data.shards import expand, read_members

PictureFile = Path | TarMember | bytes  # a file, a member of a shard, or what a file holds


class PictureFolder:
    """The pictures of records, by name; shards are searched once, when a picture is asked for.

    `images` is a folder, or a folder or glob of .tar shards.
    """

    def __init__(self, images: Path) -> None:
        self._images = images

    def find(self, name: str) -> PictureFile:
        """The picture of that name; where it is missing, the path where it was expected."""
        return self._members.get(name.removeprefix("./")) or self._images / name

    @cached_property
    def _members(self) -> dict[str, TarMember]:
        shards = picture_shards(self._images)
        return {member.name: member for shard in shards for member in read_members(shard)}


def picture_shards(images: Path) -> list[Path]:
    """The .tar shards that hold the pictures; none where `images` is a folder of pictures."""
    if not images.is_dir():
        files = expand(images)
        return files if all(path.suffix == ".tar" for path in files) else []
    with os.scandir(images) as items:
        only_shards = all(item.name.endswith(".tar") for item in items)
    return sorted(images.iterdir()) if only_shards else []
