"""Whether a tokenizer's ids fit the embedding table."""

from pathlib import Path

from tokenizers import Tokenizer

from llava_edge.errors import CheckpointError


def check_vocabulary(tokenizer: Tokenizer, vocab_size: int, where: Path) -> None:
    """Raises CheckpointError where a token has no row in the embedding table."""
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if largest >= vocab_size:
        raise CheckpointError(
            f"The tokenizer of {where} has ids up to {largest}, but the embedding table has only "
            f"{vocab_size} rows; use the tokenizer that belongs to the checkpoint."
        )
