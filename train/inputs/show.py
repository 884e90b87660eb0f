"""`llava-edge data show`: a record as the model sees it, and what of it the loss counts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tokenizers import Tokenizer as HfTokenizer

from llava_edge.data.record_table import default_cache, open_table
from llava_edge.data.record_types import BadRecord, Record
from llava_edge.errors import PictureError, RecordError, UsageError
from llava_edge.train.inputs.labels import IGNORE_INDEX, Encoding
from llava_edge.train.inputs.problem_reasons import fault
from llava_edge.train.inputs.record_encoder import Encoder
from llava_edge.train.models.text_encoding import read_encoding
from llava_edge.train.recipe import load_recipe
from llava_edge.train.resolve_models import resolve_models


@dataclass(frozen=True)
class TextSpan:
    """The text of successive tokens, all learned or all not; or so many image tokens."""

    text: str
    learned: bool
    image_tokens: int = 0


@dataclass(frozen=True)
class ShownRecord:
    """A record, where it stands, and what a stage makes of it; `cut` is by max_tokens.

    Of a bad record `bad` says why it is, and where it cannot be read there is nothing else.
    """

    where: str
    record: Record | None
    bad: str | None = None
    spans: tuple[TextSpan, ...] = ()
    tokens: int = 0
    image_tokens: int = 0
    learned: int = 0  # tokens that the loss counts
    cut: int = 0  # tokens


def show(recipe: Path | str, stage: str | None = None, index: int = 0) -> ShownRecord:
    """Position `index` of a stage's records, by default the last stage's, as the model sees it.

    Raises UsageError where there is no such position or stage, TrainingError for a bad recipe.
    """
    resolved = resolve_models(load_recipe(recipe), weights=False)
    stage = stage or list(resolved.stages)[-1]
    if stage not in resolved.stages:
        raise UsageError(f"The recipe has {' and '.join(resolved.stages)}, but no {stage}.")
    table = open_table(resolved.stages[stage].data, default_cache(), resolved.seed)
    if not 0 <= index < len(table):
        raise UsageError(f"--index is {index}, but {stage} has records 0 to {len(table) - 1:,}.")
    encoder = Encoder.of_stage(read_encoding(resolved), resolved, resolved.stages[stage])
    tokenizer = HfTokenizer.from_str(encoder.encoding.tokenizer.to_json())
    entry = table.entry(index)
    bad = fault(entry)
    if isinstance(entry.content, BadRecord):
        return ShownRecord(entry.where, None, bad)
    record = entry.content
    try:
        ids, labels = encoder(record, index)
    except (PictureError, RecordError) as error:
        return ShownRecord(entry.where, record, f"{entry.where}: {error}")
    return ShownRecord(
        where=entry.where,
        record=record,
        bad=bad,
        spans=tuple(spans(ids, labels, encoder.encoding, tokenizer)),
        tokens=len(ids),
        image_tokens=ids.count(encoder.encoding.image_token_id),
        learned=sum(id != IGNORE_INDEX for id in labels),
        cut=len(encoder.whole(record, index)[0]) - len(ids),
    )


def spans(
    ids: Sequence[int], labels: Sequence[int], encoding: Encoding, tokenizer: HfTokenizer
) -> Iterator[TextSpan]:
    """Ids and labels [S] as text; special tokens are written out."""
    start = 0
    for is_picture, group in groupby(ids, lambda id: id == encoding.image_token_id):
        stretch = list(group)
        if is_picture:
            yield TextSpan("", False, len(stretch))
        else:
            counted = [id != IGNORE_INDEX for id in labels[start : start + len(stretch)]]
            yield from _words(stretch, counted, tokenizer)
        start += len(stretch)


def _words(
    ids: Sequence[int], counted: Sequence[bool], tokenizer: HfTokenizer
) -> Iterator[TextSpan]:
    """Decoded from the start each time, since decoders drop the space at the start of a text."""
    before, end = "", 0
    for learned, group in groupby(counted):
        end += len(list(group))
        text = tokenizer.decode(list(ids[:end]), skip_special_tokens=False)
        yield TextSpan(text[len(before) :], learned)
        before = text
