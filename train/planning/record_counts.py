"""How many records a table has and how long they are, from its columns alone."""

from dataclasses import dataclass

import numpy as np

from llava_edge.data.record_table import RecordTable
from llava_edge.train.inputs.dataset import CHARACTERS_PER_TOKEN
from llava_edge.train.inputs.picture_views import PictureViews, image_tokens_of


@dataclass(frozen=True)
class RecordCounts:
    """What records there are; lengths are in tokens, estimated from their characters."""

    records: int
    seen: int  # by an epoch: each as often as its source's weight says
    pictures: int
    longest: int  # image tokens included
    words: int  # most of one record, without image tokens


def count_records(table: RecordTable, views: PictureViews | None, max_tokens: int) -> RecordCounts:
    """Count a table's records; without `views` their pictures take no image tokens."""
    each = table.distinct()
    pictures = each.pictures.astype(np.int64)
    words = each.characters.astype(np.int64) // CHARACTERS_PER_TOKEN + 1
    image_tokens = image_tokens_of(each, np.arange(len(each)), views) if views else 0
    longest = int((words + image_tokens).max())
    return RecordCounts(
        records=len(each),
        seen=len(table),
        pictures=int(pictures.sum()),
        longest=min(longest, max_tokens),
        words=min(int(words.max()), max_tokens),
    )
