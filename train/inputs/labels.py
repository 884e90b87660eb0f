"""The labels of a conversation's ids, and how a conversation is cut to a length."""

from collections.abc import Sequence
from dataclasses import dataclass

from llava_edge.core.bundle_config import ImageConfig, PromptConfig
from llava_edge.core.prompt import Picture, Segment
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.errors import RecordError

IGNORE_INDEX = -100  # a position whose loss is not counted


@dataclass(frozen=True)
class Encoding:
    """What records are encoded with: the runtime's own prompt format and picture preprocessing."""

    tokenizer: Tokenizer
    prompt: PromptConfig
    image: ImageConfig
    image_tokens: int
    image_token_id: int


def label(segments: Sequence[Segment], encoding: Encoding) -> tuple[list[int], list[int]]:
    """The ids and labels of segments; a picture is its placeholder, once for each image token.

    The first id has no label: nothing predicts it, and in a packed row it follows another
    record.
    """
    ids: list[int] = []
    labels: list[int] = []
    for segment in segments:
        if isinstance(segment, Picture):
            run = [encoding.image_token_id] * encoding.image_tokens
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
