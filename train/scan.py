"""How many records there are to learn from and how long they are, by streaming their files."""

from collections.abc import Iterable
from dataclasses import dataclass

from llava_edge.records import read_entries
from llava_edge.shards import expand
from llava_edge.train.dataset import CHARACTERS_PER_TOKEN
from llava_edge.train.recipe import Source


@dataclass(frozen=True)
class Scan:
    """What records there are; lengths are in tokens, judged by their characters."""

    records: int
    seen: int  # by an epoch: each as often as its source's weight says
    pictures: int
    longest: int  # image tokens included
    words: int  # most of one record, without image tokens


def scan(sources: Iterable[Source], image_tokens: int, max_tokens: int) -> Scan | None:
    """Count the records of sources; None where a file is not there yet.

    Raises RecordError for a file that holds no records.
    """
    records = seen = pictures = longest = words = 0
    for source in sources:
        if not all(file.exists() for path in source.records for file in expand(path)):
            return None
        count = 0
        for entry in read_entries(source):
            count += 1
            pictures += len(entry.pictures)
            tokens = entry.characters // CHARACTERS_PER_TOKEN + 1
            longest = max(longest, tokens + image_tokens * len(entry.pictures))
            words = max(words, tokens)
        records += count
        seen += round(count * source.weight)
    return Scan(records, seen, pictures, min(longest, max_tokens), min(words, max_tokens))
