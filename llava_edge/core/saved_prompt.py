"""A prompt format as config.json holds it: the name of one that is known, or else its pieces."""

from dataclasses import asdict

from llava_edge.core.bundle_config import PromptConfig
from llava_edge.core.prompt import PROMPTS
from llava_edge.core.strict import Section, parse
from llava_edge.errors import CheckpointError


def saved_prompt(prompt: PromptConfig) -> object:
    """What JSON holds of a prompt format."""
    return prompt.name if PROMPTS.get(prompt.name) == prompt else asdict(prompt)


def read_saved_prompt(section: Section) -> PromptConfig:
    """The format under `prompt`; raises CheckpointError where it is neither a name nor pieces."""
    value = section.values.get("prompt")
    if not isinstance(value, dict):
        return PROMPTS[section.choice("prompt", tuple(PROMPTS))]
    try:
        return parse(PromptConfig, value)
    except ValueError as error:
        raise CheckpointError(
            f"{section.where} gives a prompt of which {error}; save the checkpoint again."
        ) from None
