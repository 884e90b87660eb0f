"""How likely a language model finds the tokens of a sample, and which of them follow what."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llava_edge.core.array_types import Floats
from llava_edge.core.picture import PictureSource
from llava_edge.core.prompt import Picture, Segment, Text
from llava_edge.runtime.model import Llava


@dataclass(frozen=True)
class Sample:
    """A conversation, with or without a picture, or a text."""

    segments: tuple[Segment, ...]
    picture: PictureSource | None = None

    def rows(self, embed: Callable[[list[int]], Floats], picture: Floats | None) -> Floats:
        """Its inputs_embeds [S, D]: embedded ids, and the picture's rows where it stands."""
        parts = [
            embed(list(segment.ids)) if isinstance(segment, Text) else picture
            for segment in self.segments
        ]
        return np.concatenate([part for part in parts if part is not None])

    def targets(self, image_tokens: int) -> "Targets":
        """The tokens that follow others, and the rows after which they do."""
        places: list[int] = []
        ids: list[int] = []
        learned: list[bool] = []
        length = 0
        for segment in self.segments:
            if isinstance(segment, Picture):
                length += image_tokens
                continue
            places += range(length, length + len(segment.ids))
            ids += segment.ids
            learned += [segment.learned] * len(segment.ids)
            length += len(segment.ids)
        skip = 1 if places and places[0] == 0 else 0  # the very first token follows none
        return Targets(
            np.array(places[skip:]) - 1, np.array(ids[skip:]), np.array(learned[skip:], bool)
        )


class Scorer:
    """A bundle that is asked how likely something is, rather than to answer."""

    def __init__(self, model: Llava) -> None:
        self._model = model
        self._cache = model.decoder.new_cache()

    def encode(self, source: PictureSource) -> Floats:
        """Image embeddings [T, D] of a picture."""
        return self._model.encode_image(source).rows

    def embed(self, ids: list[int]) -> Floats:
        """The language model's own rows [S, D] for ids."""
        return self._model.decoder.embed(ids)

    def score(self, rows: Floats, positions: Sequence[int]) -> Floats:
        """The logits [P, V] after the rows [S, D] at `positions`."""
        self._cache.rewind(0)
        return self._model.decoder.read(self._cache, rows, positions)


@dataclass(frozen=True)
class Targets:
    """Tokens [P], the rows that come before them, and which of them are an answer's."""

    positions: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    learned: npt.NDArray[np.bool_]


def log_softmax(logits: Floats) -> Floats:
    """Log probabilities [P, V] of logits [P, V]."""
    shifted = logits - logits.max(1, keepdims=True)
    logs: Floats = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return logs


def losses(logits: Floats, targets: Targets) -> Floats:
    """The negative log likelihood [P] of the targets, in nats."""
    found: Floats = -log_softmax(logits)[np.arange(len(targets.ids)), targets.ids]
    return found
