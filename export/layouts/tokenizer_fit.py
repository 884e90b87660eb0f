"""Whether a tokenizer's ids fit the embedding table."""

import json
import logging
from pathlib import Path

from tokenizers import Tokenizer

from llava_edge.errors import CheckpointError
from llava_edge.export.progress_bars import note


def within_vocabulary(tokenizer: Tokenizer, vocab_size: int, where: Path) -> Tokenizer:
    """The tokenizer without the added tokens that have no row in the embedding table.

    Which ones are left out is noted. Raises CheckpointError where one of its own vocabulary has no
    row, or one that it puts around every text.
    """
    ids = tokenizer.get_vocab(with_added_tokens=True)
    beyond = sorted((token for token, id in ids.items() if id >= vocab_size), key=ids.__getitem__)
    if not beyond:
        return tokenizer
    content = json.loads(tokenizer.to_str())
    around = json.dumps(content["post_processor"])
    own = tokenizer.get_vocab(with_added_tokens=False)
    if any(token in own or json.dumps(token) in around for token in beyond):
        raise CheckpointError(
            f"The tokenizer of {where} has ids up to {ids[beyond[-1]]}, but the embedding table "
            f"has only {vocab_size} rows; use the tokenizer that belongs to the checkpoint."
        )
    note(
        f"The tokenizer of {where} adds {', '.join(beyond)} beyond the {vocab_size:,} rows of the "
        "embedding table; what has no row is left out.",
        logging.WARNING,
    )
    content["added_tokens"] = [one for one in content["added_tokens"] if one["id"] < vocab_size]
    content["padding"] = None  # which may name one of them; nothing is padded
    return Tokenizer.from_str(json.dumps(content))
