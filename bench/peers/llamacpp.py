"""The language model in llama.cpp, which does not have the bundle's vision tower.

It reads the bundle's image embeddings, as it reads those of its own multimodal library.
"""

import numpy as np

from llava_edge.bench.llama_cpp import LlamaCpp
from llava_edge.bench.peers.candidate import Peer, PeerSettings
from llava_edge.bench.peers.question import PeerQuestion
from llava_edge.errors import UsageError

BATCH = 512


def open_candidate(settings: PeerSettings) -> "LlamaCppCandidate":
    """Load the file."""
    if settings.gguf is None:
        raise UsageError("llama.cpp needs the language model as a GGUF file; give it with --gguf.")
    return LlamaCppCandidate(
        LlamaCpp(
            settings.gguf,
            context=settings.context,
            batch=BATCH,
            threads=settings.threads,
            gpu=settings.gpu,
        )
    )


class LlamaCppCandidate(Peer):
    """llama.cpp, which reads ids and rows."""

    def __init__(self, model: LlamaCpp) -> None:
        self._model = model

    def forget(self) -> None:
        """Empty the KV cache."""
        self._model.forget()

    def read(self, ids: list[int]) -> int:
        """Append ids -> the likeliest id after them."""
        return int(self._model.read(ids)[0].argmax())

    def first_turn(self, question: PeerQuestion) -> int:
        """Read the first turn, with the picture's rows from a file: the tower is not in it."""
        self.forget()
        if question.before:
            self._model.read(list(question.before))
        self._model.read(np.load(question.rows))
        return self.read(list(question.after))
