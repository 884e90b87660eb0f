"""The labels of a conversation's ids, and how a conversation is cut to a length."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

from llava_edge.core.bundle_config import ImageConfig, PromptConfig, TilesConfig
from llava_edge.core.prompt import Picture, Segment
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.errors import RecordError
from llava_edge.train.inputs.picture_views import PictureViews

IGNORE_INDEX = -100  # a position whose loss is not counted


@dataclass(frozen=True)
class Encoding:
    """What records are encoded with: the runtime's own prompt format and picture preprocessing."""

    tokenizer: Tokenizer
    prompt: PromptConfig
    image: ImageConfig
    image_tokens: int  # of a view; without tiles a picture is one view
    image_token_id: int
    tiles: TilesConfig | None = None

    @property
    def views(self) -> PictureViews:
        """What of a picture the tower is shown."""
        return PictureViews(self.image, self.image_tokens, self.tiles)


def label(
    segments: Sequence[Segment], encoding: Encoding, image_tokens: Sequence[int] | None = None
) -> tuple[list[int], list[int]]:
    """The ids and labels of segments; a picture is its placeholder, once for each image token.

    `image_tokens` has those of each picture; by default they are all one view.

    The first id has no label: nothing predicts it, and in a packed row it follows another
    record.
    """
    ids: list[int] = []
    labels: list[int] = []
    counts = repeat(encoding.image_tokens) if image_tokens is None else iter(image_tokens)
    for segment in segments:
        if isinstance(segment, Picture):
            run = [encoding.image_token_id] * next(counts)
        else:
            run = list(segment.ids)
        learned = not isinstance(segment, Picture) and segment.learned
        ids += run
        labels += run if learned else [IGNORE_INDEX] * len(run)
    return ids, [IGNORE_INDEX, *labels[1:]]


def truncate(
    ids: list[int], labels: list[int], max_tokens: int, image_token_id: int
) -> tuple[list[int], list[int]]:
    """Cut ids and labels to the first `max_tokens`, but never within a run of image tokens.

    A run that does not fit is cut off as a whole, with neighbouring pictures and all that
    follows. So the first pictures remain, each of them whole: the caller keeps the pixels of as
    many as `ids.count(image_token_id)` says. Raises RecordError if no label would remain.
    """
    end = min(max_tokens, len(ids))
    if end < len(ids) and ids[end] == image_token_id:
        while end and ids[end - 1] == image_token_id:
            end -= 1
    if all(label == IGNORE_INDEX for label in labels[1:end]):  # nothing predicts the first id
        raise RecordError(
            f"The record takes {len(ids):,} tokens, and none of the {end:,} that max_tokens = "
            f"{max_tokens:,} leaves of it is the assistant's; raise max_tokens or drop the record.",
            "no answer within max_tokens",
        )
    return ids[:end], labels[:end]
