"""A record as the model sees it: its tokens as text, and which of them the loss counts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.text import Text
from tokenizers import Tokenizer as HfTokenizer

from llava_edge.data.record_table import open_table
from llava_edge.errors import UsageError
from llava_edge.hub.tokenizer_file import read_tokenizer_file
from llava_edge.train.inputs.encoder import Encoder
from llava_edge.train.inputs.labels import IGNORE_INDEX, Encoding
from llava_edge.train.models.encoding import read_encoding
from llava_edge.train.recipe import Recipe

LEARNED = "bold green"


@dataclass(frozen=True)
class TextSpan:
    """The text of successive tokens, all learned or all not; or so many image tokens."""

    text: str
    learned: bool
    image_tokens: int = 0


def show(recipe: Recipe, stage: str, index: int, cache: Path, console: Console) -> None:
    """Print record `index` of a stage; raises UsageError if there is no such record."""
    if stage not in recipe.stages:
        raise UsageError(f"The recipe has {' and '.join(recipe.stages)}, but no {stage}.")
    table = open_table(recipe.stages[stage].data, cache, recipe.seed)
    if not 0 <= index < len(table):
        raise UsageError(f"--index is {index}, but {stage} has records 0 to {len(table) - 1:,}.")
    encoder = Encoder.of_stage(read_encoding(recipe), recipe, recipe.stages[stage])
    tokenizer = read_tokenizer_file(Path(recipe.language_model))
    record = table[index]
    ids, labels = encoder(record, index)
    cut = len(encoder.whole(record, index)[0]) - len(ids)
    console.print(f"{table.where(index)}: {record.id}")
    for picture in record.images:
        console.print(f"Picture: {picture}")
    console.print(
        _marked(spans(ids, labels, encoder.encoding, tokenizer), colour=console.is_terminal)
    )
    learned = sum(id != IGNORE_INDEX for id in labels)
    image = ids.count(encoder.encoding.image_token_id)
    console.print(
        f"{len(ids):,} tokens: {image:,} image tokens, {learned:,} counted in the loss"
        + (f"; {cut:,} more are cut off by max_tokens" if cut else "")
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
    """Texts are decoded from the start each time: decoders drop the space at a text's start."""
    before, end = "", 0
    for learned, group in groupby(counted):
        end += len(list(group))
        text = tokenizer.decode(list(ids[:end]), skip_special_tokens=False)
        yield TextSpan(text[len(before) :], learned)
        before = text


def _marked(found: Iterator[TextSpan], *, colour: bool) -> Text:
    """Learned words in colour, or between [[ and ]] on a terminal without colours."""
    text = Text()
    for span in found:
        if span.image_tokens:
            text.append(f"<image x {span.image_tokens}>", "cyan" if colour else "")
        elif span.learned:
            text.append(span.text if colour else f"[[{span.text}]]", LEARNED if colour else "")
        else:
            text.append(span.text)
    return text
