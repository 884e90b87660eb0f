"""How many records a table has and how long they are, from its columns alone."""

from dataclasses import dataclass

import numpy as np

from llava_edge.data.record_table import RecordTable
from llava_edge.train.inputs.dataset import CHARACTERS_PER_TOKEN


@dataclass(frozen=True)
class RecordCounts:
    """What records there are; lengths are in tokens, estimated from their characters."""

    records: int
    seen: int  # by an epoch: each as often as its source's weight says
    pictures: int
    longest: int  # image tokens included
    words: int  # most of one record, without image tokens


def count_records(table: RecordTable, image_tokens: int, max_tokens: int) -> RecordCounts:
    """Count a table's records; each of their pictures takes so many image tokens."""
    each = table.distinct()
    pictures = each.pictures.astype(np.int64)
    words = each.characters.astype(np.int64) // CHARACTERS_PER_TOKEN + 1
    longest = int((words + image_tokens * pictures).max())
    return RecordCounts(
        records=len(each),
        seen=len(table),
        pictures=int(pictures.sum()),
        longest=min(longest, max_tokens),
        words=min(int(words.max()), max_tokens),
    )
