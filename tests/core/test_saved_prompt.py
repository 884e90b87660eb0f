"""A prompt format in config.json is a known name or its pieces, and comes back the same."""

import json
from dataclasses import replace

import pytest

from llava_edge.core.bundle_config import PromptConfig
from llava_edge.core.prompt import PROMPTS, VICUNA_V1
from llava_edge.core.saved_prompt import read_saved_prompt, saved_prompt
from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError

OWN = replace(VICUNA_V1, name="own", user_prefix="Q: ", system_prefix=None)
CHANGED = replace(VICUNA_V1, user_prefix="Q: ")  # under a known name


@pytest.mark.parametrize("prompt", [*PROMPTS.values(), OWN, CHANGED], ids=lambda p: p.name)
def test_it_comes_back_from_json(prompt: PromptConfig) -> None:
    value = json.loads(json.dumps({"prompt": saved_prompt(prompt)}))
    assert read_saved_prompt(Section(value, "config.json")) == prompt
    assert isinstance(value["prompt"], str) == (prompt not in (OWN, CHANGED))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "gives nothing as prompt"),
        ({"prompt": "poetry"}, '"poetry" as prompt'),
        ({"prompt": {"name": "own"}}, "answer_prefix is missing"),
    ],
)
def test_anything_else_is_refused(value: dict[str, object], said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        read_saved_prompt(Section(value, "config.json"))
