"""Which of a picture's rows are kept: what the runtime does, and what it is compared with."""

from collections.abc import Callable

import numpy as np

from llava_edge.core.array_types import Floats
from llava_edge.runtime.token_reduction import diverse

Choice = Callable[[Floats, int, int], Floats]  # rows [T, D], how many, a seed -> rows [N, D]


def choose_diverse(rows: Floats, count: int, seed: int) -> Floats:
    """What the runtime does."""
    return rows[diverse(rows, count)]


def choose_merged(rows: Floats, count: int, seed: int) -> Floats:
    """The diverse rows, each averaged with those dropped rows that are most like it."""
    kept = diverse(rows, count)
    directions = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    group = (directions @ directions[kept].T).argmax(axis=1)  # [T], which kept row takes it
    group[kept] = np.arange(count)
    members = (group == np.arange(count)[:, None]).astype(np.float32)  # [N, T]
    merged: Floats = members @ rows / members.sum(axis=1, keepdims=True)
    return merged


def choose_uniform(rows: Floats, count: int, seed: int) -> Floats:
    """Rows at even distances in their order."""
    return rows[((np.arange(count) + 0.5) * len(rows) / count).astype(int)]


def choose_random(rows: Floats, count: int, seed: int) -> Floats:
    """Rows drawn evenly, in their order."""
    drawn = np.random.default_rng(seed).choice(len(rows), count, replace=False)
    return rows[np.sort(drawn)]


CHOICES: dict[str, Choice] = {
    "diverse": choose_diverse,
    "merged": choose_merged,
    "uniform": choose_uniform,
    "random": choose_random,
}
