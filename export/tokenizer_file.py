"""A folder's tokenizer.json, and whether it fits a prompt format."""

from pathlib import Path

from tokenizers import Tokenizer

from llava_edge.config import PromptConfig
from llava_edge.errors import CheckpointError, UsageError
from llava_edge.export.checkpoint_section import Section
from llava_edge.prompt import CHATML, PROMPTS, VICUNA_V1


def read_tokenizer_file(folder: Path) -> Tokenizer:
    """Raises CheckpointError where the folder has no tokenizer.json or a broken one."""
    path = folder / "tokenizer.json"
    if not path.exists():
        raise CheckpointError(
            f"{folder} has no tokenizer.json; write one by loading the tokenizer with "
            "transformers' AutoTokenizer and saving it there."
        )
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing narrower
        raise CheckpointError(
            f"{path} cannot be read as a tokenizer ({error}); fetch the file anew."
        ) from None


def choose_prompt(prompt: str | None, config: Section, tokenizer: Tokenizer) -> PromptConfig:
    """The prompt format named by the caller, else by config.json, else as the tokenizer suggests.

    Raises UsageError or CheckpointError for a format that is unknown or needs tokens that the
    tokenizer lacks.
    """
    known = tuple(PROMPTS)
    if prompt is not None and prompt not in PROMPTS:
        raise UsageError(f'There is no prompt format "{prompt}"; choose {" or ".join(known)}.')
    if prompt is None and config.has("llava_edge"):
        prompt = config.section("llava_edge").choice("prompt", known)
    if prompt is None:
        chatml = tokenizer.token_to_id("<|im_start|>") is not None
        prompt = CHATML.name if chatml else VICUNA_V1.name
    chosen = PROMPTS[prompt]
    for token in (chosen.bos, *chosen.stop):
        if token and tokenizer.token_to_id(token) is None:
            raise CheckpointError(
                f'The prompt format "{prompt}" needs the token {token}, which the tokenizer lacks; '
                "choose another with --prompt."
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
