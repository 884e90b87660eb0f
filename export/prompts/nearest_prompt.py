"""The format with a name that is nearest to another one."""

from dataclasses import replace
from difflib import SequenceMatcher

from tokenizers import Tokenizer

from llava_edge.core.bundle_config import PromptConfig
from llava_edge.core.prompt import IMAGE, PROMPTS, WrittenMessage
from llava_edge.core.prompt_pieces import as_text

_ALIKE = 0.8  # the least share of characters in common
_TALK = (
    WrittenMessage("user", f"{IMAGE}\nOne?"),
    WrittenMessage("assistant", "Two."),
    WrittenMessage("user", "Three?"),
)


def nearest_prompt(prompt: PromptConfig, tokenizer: Tokenizer) -> PromptConfig | None:
    """The format of PROMPTS that writes turns most alike, if any does and the tokenizer has it."""
    usable = [
        named
        for named in PROMPTS.values()
        if all(tokenizer.token_to_id(token) is not None for token in named.stop)
    ]
    best = max(usable, key=lambda named: _likeness(named, prompt), default=None)
    return best if best and _likeness(best, prompt)[0] >= _ALIKE else None


def what_it_adds(named: PromptConfig, prompt: PromptConfig) -> str:
    """What a named format has otherwise before the first question and after an answer; or ""."""
    pairs = {
        "before the first question": (named.opening, prompt.opening + prompt.user_prefix),
        "after an answer": (named.assistant_suffix, prompt.assistant_suffix),
    }
    return " and ".join(
        f'"{_shortened(theirs.strip())}" {where}'
        for where, (theirs, ours) in pairs.items()
        if theirs.strip() and theirs.strip() not in ours
    )


def _likeness(named: PromptConfig, prompt: PromptConfig) -> tuple[float, float]:
    """How alike the turns are; and what stands first, where the turns are alike."""
    theirs, ours = (as_text(_TALK, replace(each, bos="", opening="")) for each in (named, prompt))
    return (
        SequenceMatcher(None, theirs, ours, autojunk=False).ratio(),
        SequenceMatcher(None, named.opening, prompt.opening, autojunk=False).ratio(),
    )


def _shortened(text: str) -> str:
    text = text.replace("\n", "\\n")
    return text if len(text) < 60 else f"{text[:50]}..."
