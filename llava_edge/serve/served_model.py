"""A model as clients know it."""

from dataclasses import dataclass

from llava_edge.runtime.model import Llava
from llava_edge.serve.wire_logprobs import TokenTexts


@dataclass(frozen=True)
class ServedModel:
    """A model under its name; `fingerprint` changes with its weights."""

    id: str
    model: Llava
    fingerprint: str
    texts: TokenTexts

    @classmethod
    def of(cls, id: str, model: Llava) -> "ServedModel":
        """A model that has just been loaded."""
        bundle = model.bundle
        texts = TokenTexts(model.tokenizer, bundle.vocabulary.stop)
        return cls(id, model, f"fp_{bundle.fingerprint[:12]}", texts)
