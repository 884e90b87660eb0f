"""Fewer image tokens, without training: which of a picture's rows the language model reads."""

import numpy as np
import numpy.typing as npt

from llava_edge.core.array_types import Floats
from llava_edge.errors import UsageError

Indices = npt.NDArray[np.intp]


def diverse(rows: Floats, count: int) -> Indices:
    """The ascending indices [count] of those rows [T, D] that are least like one another.

    DivPrune (arXiv 2503.02175): greedily, the row farthest by cosine from all that are kept. Raises
    UsageError where the picture has fewer rows.
    """
    if not 1 <= count <= len(rows):
        raise UsageError(
            f"image_tokens is {count:,}, but the picture has {len(rows):,} image tokens; "
            f"give 1 to {len(rows):,}."
        )
    distances = _cosine_distances(rows)
    np.fill_diagonal(distances, np.inf)  # no row is its own neighbour
    kept = [int(distances.min(axis=1).argmax())]
    np.fill_diagonal(distances, -np.inf)  # no row is kept twice
    nearest = distances[kept[0]]  # [T], to the rows that are kept
    while len(kept) < count:
        kept.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, distances[kept[-1]])
    return np.sort(kept)


def _cosine_distances(rows: Floats) -> Floats:
    """Of each of the rows [T, D] from each: [T, T]; a row of zeros is at right angles to all."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    directions = rows / np.maximum(lengths, np.finfo(np.float32).tiny)
    distances: Floats = 1 - directions @ directions.T
    return distances
