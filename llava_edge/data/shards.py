"""Pictures and samples in uncompressed .tar shards, as WebDataset lays them out."""

import glob
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from llava_edge.core.picture import TarMember
from llava_edge.data.captions import caption_sample
from llava_edge.errors import RecordError

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".ppm")
_TURNS = ('"conversations"', '"messages"')  # what a sample of more than a caption has


@dataclass
class ShardSample:
    """The members of a shard that share a key: a sample's JSON text, and its pictures."""

    text: str
    pictures: list[TarMember] = field(default_factory=list)


def expand(pattern: Path) -> list[Path]:
    """The files that a pattern with `*`, `?` or `[...]` matches, sorted; else the path itself."""
    if not glob.has_magic(str(pattern)) or pattern.exists():
        return [pattern]
    found = sorted(glob.glob(str(pattern), recursive=True))
    return [Path(name) for name in found] or [pattern]


def read_members(shard: Path) -> Iterator[TarMember]:
    """Where each file in a shard is, in order; raises RecordError for a shard that is broken."""
    try:
        with tarfile.open(shard, "r:") as archive:
            while member := archive.next():
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
                if member.isreg():
                    name = member.name.removeprefix("./")
                    yield TarMember(shard, name, member.offset_data, member.size)
    except (OSError, tarfile.TarError) as error:
        raise RecordError(
            f"The shard {shard} cannot be read ({error}); an uncompressed .tar file is expected."
        ) from error


class ShardWriter:
    """Writes a shard whose members are found under another path, once it is moved there.

    Without any member there is no shard.
    """

    def __init__(self, path: Path, found: Path) -> None:
        self._path = path
        self._found = found
        self._archive: tarfile.TarFile | None = None

    def add(self, content: bytes) -> TarMember:
        """Append a member, and say where it will be found."""
        if self._archive is None:
            self._archive = tarfile.open(self._path, "w:", format=tarfile.USTAR_FORMAT)
        offset = self._archive.offset
        member = tarfile.TarInfo(str(offset))
        member.size = len(content)
        self._archive.addfile(member, io.BytesIO(content))
        self._archive.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
        return TarMember(self._found, member.name, offset + tarfile.BLOCKSIZE, len(content))

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._archive is not None:
            self._archive.close()


def read_shard_samples(shard: Path) -> Iterator[ShardSample]:
    """The samples of a shard; one without any words is left out."""
    for key, members in groupby(read_members(shard), _key):
        pictures, parts = [], {}
        for member in members:
            suffix = member.name[len(key) :].lower()
            if suffix.endswith(PICTURES):
                pictures.append(member)
            else:
                parts[suffix] = member
        text = _text(key, parts)
        if text is not None:
            yield ShardSample(text, pictures)


def _key(member: TarMember) -> str:
    """The name up to the first dot of its last part."""
    folder, slash, name = member.name.rpartition("/")
    return folder + slash + name.split(".", 1)[0]


def _text(key: str, parts: dict[str, TarMember]) -> str | None:
    """The sample's own JSON; its caption's if that has no conversations, as img2dataset's."""
    sample = _read(parts[".json"]) if ".json" in parts else None
    if ".txt" in parts and (sample is None or not any(name in sample for name in _TURNS)):
        return caption_sample(key, _read(parts[".txt"]))
    return sample


def _read(member: TarMember) -> str:
    return member.read().decode("utf-8", errors="replace")
