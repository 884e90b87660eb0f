"""What is wrong with a table's records, and how that is kept beside them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from llava_edge.core.files import write_atomically
from llava_edge.data.record_table import RecordTable

TOO_LONG = "too long"  # which training cuts off, so such a record is usable all the same
Problems = dict[str, list[int]]  # the table's rows that have each


@dataclass(frozen=True)
class RecordProblems:
    """How many distinct records there are, and for each problem the table's rows that have it."""

    records: int
    problems: Problems

    @property
    def unusable(self) -> NDArray[np.int64]:
        """The rows that training cannot use."""
        bad = (rows for problem, rows in self.problems.items() if problem != TOO_LONG)
        return np.array(sorted(chain.from_iterable(bad)), np.int64)

    def __str__(self) -> str:
        counts = (f"{len(rows):,} {problem}" for problem, rows in self.problems.items())
        return ", ".join(counts) or "nothing is wrong"


def joined(records: int, faults: Problems, lengths: Problems) -> RecordProblems:
    """Each record once, by its fault or else by its length; the most frequent problem first."""
    faulty = set(chain.from_iterable(faults.values()))
    long = {name: [row for row in rows if row not in faulty] for name, rows in lengths.items()}
    most_first = sorted((faults | long).items(), key=lambda item: -len(item[1]))
    return RecordProblems(records, {name: rows for name, rows in most_first if rows})


def keep(problems: Mapping[str, list[int]], table: RecordTable, file: str) -> None:
    """Write beside each source's rows what is wrong with them; a source's first row is 0."""
    for part in table.parts:
        own = {
            problem: [row - part.start for row in rows if part.start <= row < part.stop]
            for problem, rows in problems.items()
        }
        found = {problem: rows for problem, rows in own.items() if rows}
        write_atomically(part.folder / file, json.dumps(found))


def kept(table: RecordTable, file: str) -> Problems | None:
    """What was found before; None unless it was for every source."""
    problems: Problems = {}
    for part in table.parts:
        path = part.folder / file
        if not path.exists():
            return None
        for problem, rows in json.loads(path.read_text(encoding="utf-8")).items():
            problems.setdefault(problem, []).extend(row + part.start for row in rows)
    return problems
