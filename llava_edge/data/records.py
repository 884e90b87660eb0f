"""Records: samples, each a conversation about pictures or about none, out of files and shards."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from llava_edge.data.picture_folder import PictureFile, PictureFolder
from llava_edge.data.record_types import BadRecord, Record
from llava_edge.data.sample import counted, read_sample, unread_keys
from llava_edge.data.sample_files import files_of, read_samples
from llava_edge.errors import RecordError


@dataclass(frozen=True)
class Data:
    """Records (JSON, JSONL, parquet, .tar shards, folders or globs) and where their pictures are.

    `images` is a folder, or a folder or glob of .tar shards that hold the pictures by name.
    """

    records: tuple[Path, ...]
    images: Path
    limit: int | None = None  # of records used, the first ones

    def __post_init__(self) -> None:
        if not self.records or (self.limit is not None and self.limit < 1):
            raise ValueError("records and limit must be 1 or more")

    @property
    def files(self) -> list[Path]:
        """The files that the records name; a pattern that no file matches is returned as it is.

        Raises RecordError for a folder that holds no records.
        """
        return [file for pattern in self.records for file in files_of(pattern)]


@dataclass(frozen=True)
class RecordSource(Data):
    """Records, and how many times an epoch sees each of them; with 0.5 it sees a half of them."""

    weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight <= 0:
            raise ValueError(f"weight is {self.weight}, not above 0")


@dataclass(frozen=True)
class Entry:
    """What a file holds at one place: a record, good or bad.

    Pictures and characters of a bad record are counted too, as far as they can be read.
    """

    file: Path
    number: int  # from 1, in the file
    line: int | None  # from 1; None in a shard
    content: Record | BadRecord
    pictures: tuple[PictureFile, ...]
    characters: int  # of all turns
    unread: tuple[str, ...] = ()  # keys of the sample that nothing is done with

    @property
    def where(self) -> str:
        """Such as "Record 3, line 40 of train.json"."""
        line = "" if self.line is None else f", line {self.line}"
        return f"Record {self.number}{line} of {self.file}"

    @property
    def record(self) -> Record:
        """The record; raises RecordError if it is bad. Its pictures are not looked for."""
        if isinstance(self.content, BadRecord):
            raise RecordError(f"{self.where} {self.content.sentence}", self.content.problem)
        return self.content


def load_records(data: Data) -> list[Record]:
    """Read the records of `data`, in order; raises RecordError for the first one that is bad."""
    records = []
    for entry, _ in read_entries(data):
        require_pictures(entry.record, entry.where)
        records.append(entry.record)
    return records


def read_entries(data: Data) -> Iterator[tuple[Entry, str]]:
    """Stream what the files of `data` hold, in order, each entry with its JSON text.

    Raises RecordError for a file that cannot be read, and if there are no records at all.
    """
    found = False
    for entry in islice(_all_entries(data), data.limit):
        found = True
        yield entry
    if not found:
        raise RecordError(f"{data.records[0]} holds no records; at least one is needed.")


def require_pictures(record: Record, where: str) -> None:
    """Raise RecordError for a picture that is not there."""
    for picture in record.images:
        if isinstance(picture, Path) and not picture.is_file():
            raise RecordError(
                f"{where} names the picture {picture}, which is missing; "
                "add it or drop the record.",
                "missing picture",
            )


def _all_entries(data: Data) -> Iterator[tuple[Entry, str]]:
    folder = PictureFolder(data.images)
    for file in data.files:
        for number, sample in enumerate(read_samples(file), 1):
            value, own = sample.value, sample.pictures
            content = read_sample(value, folder, own, number)
            if isinstance(content, BadRecord):
                seen = counted(value, folder, own)
            else:
                seen = content.images, sum(len(message.text) for message in content.messages)
            unread = tuple(unread_keys(value))
            yield Entry(file, number, sample.line, content, *seen, unread), sample.text
