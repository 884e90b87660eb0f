"""A GGUF file of the language model in llama.cpp, which has no such vision tower.

It is given the bundle's image embeddings, as its own multimodal library gives it a tower's.
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
        raise UsageError("llama.cpp needs the language model as a GGUF file; name it with --gguf.")
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
    """llama.cpp, fed with ids and rows."""

    def __init__(self, model: LlamaCpp) -> None:
        self._model = model

    def forget(self) -> None:
        """Empty the KV cache."""
        self._model.forget()

    def read(self, ids: list[int]) -> int:
        """Append ids; the likeliest id after them."""
        return int(self._model.read(ids)[0].argmax())

    def first_turn(self, question: PeerQuestion) -> int:
        """Without the tower: from the picture's rows, in a file, on."""
        self.forget()
        if question.before:
            self._model.read(list(question.before))
        self._model.read(np.load(question.rows))
        return self.read(list(question.after))
