"""A tokenizer from sentencepiece's BPE pieces, such as Llama's and Mistral's have."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

SPACE = "\u2581"  # what sentencepiece writes for one


class PieceKind(IntEnum):
    """sentencepiece's types of pieces, which GGUF files count alike."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class BpePiece:
    """An entry of the vocabulary; the higher its score, the earlier it is merged."""

    text: str
    score: float
    kind: int


def build_tokenizer(pieces: Sequence[BpePiece], *, add_prefix_space: bool = True) -> Tokenizer:
    """The tokenizer of these pieces, as transformers makes it (`LlamaConverter`)."""
    vocabulary = {piece.text: id for id, piece in enumerate(pieces)}
    unknown = next((piece.text for piece in pieces if piece.kind == PieceKind.UNKNOWN), None)
    tokenizer = Tokenizer(
        models.BPE(
            vocabulary,
            _merges(pieces, vocabulary),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    prefix = [normalizers.Prepend(SPACE)] if add_prefix_space else []
    tokenizer.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", SPACE)])
    strip = [decoders.Strip(" ", 1, 0)] if add_prefix_space else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    special = {PieceKind.UNKNOWN: True, PieceKind.CONTROL: True, PieceKind.USER_DEFINED: False}
    tokenizer.add_tokens(
        [
            AddedToken(piece.text, special=special[PieceKind(piece.kind)], normalized=False)
            for piece in pieces
            if piece.kind in special
        ]
    )
    return tokenizer


def _merges(pieces: Sequence[BpePiece], vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Every way to put a piece together from two others, the best first."""
    found = []
    for piece in pieces:
        if piece.kind not in (PieceKind.NORMAL, PieceKind.USER_DEFINED, PieceKind.UNUSED):
            continue
        splits = ((piece.text[:place], piece.text[place:]) for place in range(1, len(piece.text)))
        halves = [pair for pair in splits if pair[0] in vocabulary and pair[1] in vocabulary]
        halves.sort(key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
        found += [(piece.score, left, right) for left, right in halves]
    found.sort(key=lambda merge: (merge[0], len(merge[1]), len(merge[2])), reverse=True)
    return [(left, right) for _, left, right in found]
