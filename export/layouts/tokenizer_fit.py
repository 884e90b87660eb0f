"""Which prompt format a tokenizer fits, and whether its ids fit the embedding table."""

from pathlib import Path

from tokenizers import Tokenizer

from llava_edge.core.bundle_config import PromptConfig
from llava_edge.core.prompt import CHATML, LLAMA_3, MISTRAL, PROMPTS, QWEN, VICUNA_V1
from llava_edge.core.saved_prompt import read_saved_prompt
from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError, UsageError


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
    if prompt is None and config.has("llava_edge"):  # as training wrote it
        chosen = read_saved_prompt(config.section("llava_edge"))
    else:
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
