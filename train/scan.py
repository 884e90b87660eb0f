"""How many records a stage learns from and how long they are, by streaming their files."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from llava_edge.errors import RecordError
from llava_edge.train.dataset import CHARACTERS_PER_TOKEN
from llava_edge.train.recipe import Source

CHUNK = 2**20  # characters read at once
BETWEEN = re.compile(r"[\s,\[\]]*")  # what stands between the samples of a JSON list
DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Scan:
    """What records there are: `seen` is with their weights, lengths are in tokens, about."""

    records: int
    seen: int
    pictured: int
    longest: int  # image tokens included
    labelled: int  # most of one record


def scan(sources: Iterable[Source], image_tokens: int, max_tokens: int) -> Scan | None:
    """Count the records of sources; None where a file is not there yet.

    Raises RecordError for a file that holds no samples.
    """
    records = seen = pictured = longest = labelled = 0
    for source in sources:
        if not all(path.exists() for path in source.records):
            return None
        samples = chain.from_iterable(map(_samples, source.records))
        count = 0
        for sample in islice(samples, source.limit):
            count += 1
            pictured += bool(sample.get("image"))
            tokens, answers = _length(sample)
            longest = max(longest, tokens + (image_tokens if sample.get("image") else 0))
            labelled = max(labelled, answers)
        records += count
        seen += round(count * source.weight)
    return Scan(records, seen, pictured, min(longest, max_tokens), min(labelled, max_tokens))


def _length(sample: dict[str, Any]) -> tuple[int, int]:
    """A sample's tokens and those of its answers, about."""
    turns = [(turn.get("from"), len(turn.get("value", ""))) for turn in sample["conversations"]]
    words = sum(count for _, count in turns)
    answers = sum(count for speaker, count in turns if speaker == "gpt")
    return words // CHARACTERS_PER_TOKEN + 1, answers // CHARACTERS_PER_TOKEN + 1


def _samples(path: Path) -> Iterator[dict[str, Any]]:
    """The samples of a JSON list, or of a file with one a line, never all of them in memory."""
    text, position = "", 0
    with path.open(encoding="utf-8") as file:
        while True:
            position = BETWEEN.match(text, position).end()  # type: ignore[union-attr]
            try:
                if position == len(text):
                    raise ValueError
                sample, position = DECODER.raw_decode(text, position)
            except ValueError as error:
                more = file.read(CHUNK)
                if not more and position < len(text):
                    raise _no_samples(path) from error
                if not more:
                    return
                text, position = text[position:] + more, 0
                continue
            if not isinstance(sample, dict) or not isinstance(sample.get("conversations"), list):
                raise _no_samples(path)
            yield sample


def _no_samples(path: Path) -> RecordError:
    return RecordError(
        f"The records {path} cannot be counted; a JSON list of samples with conversations is "
        "expected."
    )
