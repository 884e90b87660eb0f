"""How many records there are to learn from and how long they are, by their tables."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llava_edge.data.record_table import default_cache, open_table
from llava_edge.data.records import RecordSource
from llava_edge.train.inputs.dataset import CHARACTERS_PER_TOKEN


@dataclass(frozen=True)
class Scan:
    """What records there are; lengths are in tokens, judged by their characters."""

    records: int
    seen: int  # by an epoch: each as often as its source's weight says
    pictures: int
    longest: int  # image tokens included
    words: int  # most of one record, without image tokens


def scan(sources: Sequence[RecordSource], image_tokens: int, max_tokens: int) -> Scan | None:
    """Count the records of sources; None where a file is not there yet.

    Raises RecordError for a file that holds no records.
    """
    if not all(file.exists() for source in sources for file in source.files):
        return None
    if not sources:
        return Scan(0, 0, 0, 0, 0)
    table = open_table(sources, default_cache(), seed=0)
    each = table.distinct()
    pictures = each.pictures.astype(np.int64)
    words = each.characters.astype(np.int64) // CHARACTERS_PER_TOKEN + 1
    longest = int((words + image_tokens * pictures).max())
    return Scan(
        records=len(each),
        seen=len(table),
        pictures=int(pictures.sum()),
        longest=min(longest, max_tokens),
        words=min(int(words.max()), max_tokens),
    )
