"""A folder's tokenizer, as the tokenizers library or sentencepiece wrote it."""

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer

from llava_edge.errors import CheckpointError
from llava_edge.hub.sentencepiece_bpe import BpePiece, build_tokenizer

FILES = ("tokenizer.json", "tokenizer.model")
_BPE = 2  # sentencepiece's number for it


def has_tokenizer(folder: Path) -> bool:
    """Whether the folder holds one of FILES."""
    return any((folder / name).exists() for name in FILES)


def read_tokenizer_file(folder: Path) -> Tokenizer:
    """Read tokenizer.json, or else sentencepiece's tokenizer.model.

    Raises CheckpointError where the folder has neither or a broken one.
    """
    path = next((folder / name for name in FILES if (folder / name).exists()), None)
    if path is None:
        raise CheckpointError(
            f"{folder} has neither tokenizer.json nor tokenizer.model; write the first by loading "
            "the tokenizer with transformers' AutoTokenizer and saving it there."
        )
    try:
        return Tokenizer.from_file(str(path)) if path.suffix == ".json" else _sentencepiece(path)
    except CheckpointError:
        raise
    except Exception as error:  # neither library raises anything narrower
        raise CheckpointError(
            f"{path} cannot be read as a tokenizer ({error}); fetch the file anew."
        ) from None


def _sentencepiece(path: Path) -> Tokenizer:
    from sentencepiece import sentencepiece_model_pb2 as formats

    proto = formats.ModelProto()  # type: ignore[attr-defined]  # made when it is imported
    proto.ParseFromString(path.read_bytes())
    if proto.trainer_spec.model_type != _BPE:
        raise CheckpointError(
            f"{path} is not a BPE model, the only kind that can be read; write a tokenizer.json by "
            "loading the tokenizer with transformers' AutoTokenizer and saving it there."
        )
    pieces = [BpePiece(piece.piece, piece.score, piece.type) for piece in proto.pieces]
    tokenizer = build_tokenizer(pieces, add_prefix_space=proto.normalizer_spec.add_dummy_prefix)
    _add_tokens(tokenizer, path.parent / "added_tokens.json")
    return tokenizer


def _add_tokens(tokenizer: Tokenizer, path: Path) -> None:
    """What was added to the vocabulary later, which transformers keeps beside tokenizer.model."""
    if not path.exists():
        return
    ids: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
    for token in sorted(ids, key=ids.__getitem__):
        if tokenizer.token_to_id(token) is None:
            tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        if tokenizer.token_to_id(token) != ids[token]:
            raise CheckpointError(
                f"{path} gives the token {token} the id {ids[token]}, but "
                f"{tokenizer.token_to_id(token)} follows from tokenizer.model; fetch both anew."
            )
