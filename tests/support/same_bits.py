"""Reads prompts in many ways and exits with 1 where a bit differs: `same_bits.py BUNDLE ...`.

A program of its own, so that it can also run on an imitated processor.
"""

import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from llava_edge import Llava, load
from llava_edge.core.array_types import Floats
from llava_edge.runtime.prefix_cache import PrefixCache

PROMPT = 23  # tokens
WAYS = 12


def main(bundles: Sequence[str]) -> None:
    """Check every bundle."""
    for bundle in bundles:
        model, random = load(bundle, "cpu"), np.random.default_rng(0)
        ids = [int(id) for id in random.integers(0, model.config.decoder.vocab_size, PROMPT)]
        expected = in_chunks(model, ids, [len(ids)])[0]
        for way in ways(model, ids, random):
            assert np.array_equal(way, expected), bundle


def ways(model: Llava, ids: list[int], random: np.random.Generator) -> Iterator[Floats]:
    """The logits after the ids, read in chunks, among others, and after other prompts."""
    for _ in range(WAYS):
        ends = random.choice(range(1, len(ids)), random.integers(len(ids)), replace=False)
        yield in_chunks(model, ids, [*sorted(int(end) for end in ends), len(ids)])[0]
    every = in_chunks(model, ids, [len(ids)], range(len(ids)))
    for end in range(1, len(ids)):
        assert np.array_equal(in_chunks(model, ids[:end], [end])[0], every[end - 1])
    yield every[-1]
    cache = PrefixCache(model.decoder)
    for known in (*range(1, len(ids)), *range(len(ids), 0, -1)):
        for prompt in ([*ids[:known], 3, 4, 5], ids):
            list(cache.prefill(prompt))
        yield cache.logits


def in_chunks(
    model: Llava, ids: list[int], ends: Sequence[int], positions: Sequence[int] | None = None
) -> Floats:
    """The logits of the last of some chunks, which end at `ends`."""
    cache = model.decoder.new_cache()
    for start, end in pairwise((0, *ends)):
        found = model.decoder.read(cache, model.decoder.embed(ids[start:end]), positions)
    return found.copy()


if __name__ == "__main__":
    main(sys.argv[1:])
