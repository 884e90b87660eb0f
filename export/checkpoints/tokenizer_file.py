"""A folder's tokenizer, and which prompt format it fits."""

from pathlib import Path

from tokenizers import AddedToken, Tokenizer

from llava_edge.config import PromptConfig
from llava_edge.errors import CheckpointError, UsageError
from llava_edge.export.checkpoints.bpe_pieces import Piece, build_tokenizer
from llava_edge.export.checkpoints.section import Section
from llava_edge.prompt import CHATML, LLAMA_3, MISTRAL, PROMPTS, QWEN, VICUNA_V1

FILES = ("tokenizer.json", "tokenizer.model")
_BPE = 2  # sentencepiece's number for it


def has_tokenizer(folder: Path) -> bool:
    """Whether the folder holds one that can be read."""
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


def choose_prompt(
    prompt: str | None, config: Section, tokenizer: Tokenizer, model_type: str
) -> PromptConfig:
    """The prompt format that the caller names, else config.json, else the usual one of its kind.

    Raises UsageError or CheckpointError for a format that is unknown or needs tokens that the
    tokenizer lacks.
    """
    known = tuple(PROMPTS)
    if prompt is not None and prompt not in PROMPTS:
        raise UsageError(f'There is no prompt format "{prompt}"; choose {" or ".join(known)}.')
    if prompt is None and config.has("llava_edge"):
        prompt = config.section("llava_edge").choice("prompt", known)
    chosen = PROMPTS[prompt] if prompt else _usual_prompt(tokenizer, model_type)
    for token in (chosen.bos, *chosen.stop):
        if token and tokenizer.token_to_id(token) is None:
            raise CheckpointError(
                f'The prompt format "{chosen.name}" needs the token {token}, which the tokenizer '
                "lacks; choose another with --prompt."
            )
    return chosen


def check_vocabulary(tokenizer: Tokenizer, vocab_size: int, where: Path) -> None:
    """Raises CheckpointError where a token has no row in the embedding table."""
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if largest >= vocab_size:
        raise CheckpointError(
            f"The tokenizer of {where} has ids up to {largest}, but the embedding table has only "
            f"{vocab_size} rows; use the tokenizer that belongs to the checkpoint."
        )


def _usual_prompt(tokenizer: Tokenizer, model_type: str) -> PromptConfig:
    if tokenizer.token_to_id("<|im_start|>") is not None:
        return QWEN if model_type.startswith("qwen") else CHATML
    if tokenizer.token_to_id("<|start_header_id|>") is not None:
        return LLAMA_3
    return MISTRAL if model_type == "mistral" else VICUNA_V1


def _sentencepiece(path: Path) -> Tokenizer:
    from sentencepiece import sentencepiece_model_pb2 as formats

    proto = formats.ModelProto()  # type: ignore[attr-defined]  # made when it is imported
    proto.ParseFromString(path.read_bytes())
    if proto.trainer_spec.model_type != _BPE:
        raise CheckpointError(
            f"{path} is no BPE model, which is what export reads; write a tokenizer.json by "
            "loading the tokenizer with transformers' AutoTokenizer and saving it."
        )
    pieces = [Piece(piece.piece, piece.score, piece.type) for piece in proto.pieces]
    tokenizer = build_tokenizer(pieces, add_prefix_space=proto.normalizer_spec.add_dummy_prefix)
    _add_tokens(tokenizer, path.parent / "added_tokens.json")
    return tokenizer


def _add_tokens(tokenizer: Tokenizer, path: Path) -> None:
    """What was added to the vocabulary later, which transformers keeps beside tokenizer.model."""
    if not path.exists():
        return
    added = Section.from_file(path)
    ids = {token: added.integer(token) for token in added.values}
    for token in sorted(ids, key=ids.__getitem__):
        if tokenizer.token_to_id(token) is None:
            tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        if tokenizer.token_to_id(token) != ids[token]:
            raise CheckpointError(
                f"{path} gives the token {token} the id {ids[token]}, but "
                f"{tokenizer.token_to_id(token)} follows from tokenizer.model; fetch both anew."
            )
