"""Which prompt format a tokenizer fits, and whether its ids fit the embedding table."""

import json
import logging
from pathlib import Path

from tokenizers import Tokenizer

from llava_edge.core.bundle_config import PromptConfig
from llava_edge.core.prompt import CHATML, LLAMA_3, MISTRAL, PROMPTS, QWEN, VICUNA_V1
from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError, UsageError
from llava_edge.export.progress_bars import note


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


def _usual_prompt(tokenizer: Tokenizer, model_type: str) -> PromptConfig:
    if tokenizer.token_to_id("<|im_start|>") is not None:
        return QWEN if model_type.startswith("qwen") else CHATML
    if tokenizer.token_to_id("<|start_header_id|>") is not None:
        return LLAMA_3
    return MISTRAL if model_type == "mistral" else VICUNA_V1
