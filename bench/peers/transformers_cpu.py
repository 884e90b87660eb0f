"""The checkpoint in transformers, on torch: float32 on the CPU."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llava_edge.bench.peers.candidate import Peer, PeerSettings
from llava_edge.bench.peers.question import PeerQuestion
from llava_edge.core.array_types import Floats
from llava_edge.errors import UsageError

if TYPE_CHECKING:
    from llava_edge.export.reference import Reference


def open_candidate(settings: PeerSettings) -> "TransformersCandidate":
    """Load the weights that a bundle is exported from into transformers' own model."""
    import torch

    from llava_edge.export.layouts.checkpoint import open_checkpoint
    from llava_edge.export.reference import Reference

    if settings.checkpoint is None:
        raise UsageError("transformers needs the bundle's checkpoint; give it with --checkpoint.")
    torch.set_num_threads(settings.threads)
    reference = Reference(open_checkpoint(settings.checkpoint, base=settings.base))
    return TransformersCandidate(reference)


class TransformersCandidate(Peer):
    """LlavaForConditionalGeneration with a KV cache of transformers' usual kind."""

    def __init__(self, reference: "Reference") -> None:
        self._reference = reference
        self._cache: Any = None

    def forget(self) -> None:
        """Empty the KV cache."""
        self._cache = None

    def read(self, ids: list[int]) -> int:
        """Append ids -> the likeliest id after them."""
        return self._read_rows(self._reference.embed(ids))

    def first_turn(self, question: PeerQuestion) -> int:
        """Read the first turn, from the picture's file on -> the likeliest id after it."""
        self.forget()
        picture = self._reference.encode(Path(question.picture))
        texts = (self._reference.embed(list(ids)) for ids in (question.before, question.after))
        return self._read_rows(np.concatenate([next(texts), picture, next(texts)]))

    def _read_rows(self, rows: Floats) -> int:
        import torch

        model = self._reference.model
        with torch.inference_mode():
            output = model.model.language_model(
                inputs_embeds=torch.from_numpy(rows)[None].to(model.device, model.dtype),
                past_key_values=self._cache,
                use_cache=True,
            )
            self._cache = output.past_key_values
            return int(model.lm_head(output.last_hidden_state[0, -1]).argmax())
