"""The prompt format: the one asked for, training's own, the template's, or else the usual one."""

import pytest
from tiny import tokenizer

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError, UsageError
from llava_edge.export.prompts.chat_sources import ChatSources
from llava_edge.export.prompts.choose_prompt import ChosenPrompt, choose_prompt
from llava_edge.export.prompts.usual_prompt import Kind

SILENT = Section({}, "config.json")
NOWHERE = ChatSources(())
LLAMA = Kind("llama", original=True, tiled=False)


def usual(name: str, kind: Kind) -> str:
    chosen = choose_prompt(None, SILENT, NOWHERE, tokenizer(name), kind)
    assert chosen.source == "guessed"
    return chosen.prompt.name


@pytest.mark.parametrize(
    ("vocabulary", "kind", "name"),
    [
        ("chatml", LLAMA, "chatml"),
        ("vicuna_v1", LLAMA, "vicuna_v1"),
        ("qwen", Kind("qwen2", original=True, tiled=False), "qwen"),
        ("qwen", Kind("qwen2", original=False, tiled=False), "chatml"),
        ("qwen", Kind("qwen3", original=True, tiled=False), "chatml"),
        ("mistral", Kind("mistral", original=True, tiled=True), "mistral"),
        ("mistral", Kind("mistral", original=True, tiled=False), "vicuna_v1"),  # BakLLaVA
        ("llama_3", LLAMA, "llama_3"),
        ("phi", LLAMA, "phi"),
    ],
)
def test_vocabulary_and_kind_suggest_a_format(vocabulary: str, kind: Kind, name: str) -> None:
    assert usual(vocabulary, kind) == name


def test_no_system_sentence_is_made_up() -> None:
    kind = Kind("llama", original=False, tiled=False)
    chosen = choose_prompt(None, SILENT, NOWHERE, tokenizer("llama_3"), kind).prompt
    assert not chosen.opening and chosen.system_prefix


def test_config_and_caller_decide() -> None:
    vocabulary = tokenizer("vicuna_v1")
    vocabulary.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    says = Section({"llava_edge": {"prompt": "vicuna_v1"}}, "config.json")

    def chosen(asked: str | None, config: Section) -> ChosenPrompt:
        return choose_prompt(asked, config, NOWHERE, vocabulary, LLAMA)

    assert chosen(None, SILENT).prompt.name == "chatml"
    assert chosen(None, says).prompt.name == "vicuna_v1"
    assert chosen(None, says).source == "config.json"
    assert chosen("chatml", says).prompt.name == "chatml"
    assert chosen("chatml", says).source == "--prompt chatml"


@pytest.mark.parametrize(("asked", "name"), [("v0", "v0"), ("v1", "vicuna_v1"), ("phi", "phi")])
def test_formats_that_nothing_suggests_may_be_named(asked: str, name: str) -> None:
    vocabulary = tokenizer(asked)
    says = Section({"llava_edge": {"prompt": asked}}, "config.json")
    assert choose_prompt(asked, SILENT, NOWHERE, vocabulary, LLAMA).prompt.name == name
    assert choose_prompt(None, says, NOWHERE, vocabulary, LLAMA).prompt.name == name


def test_what_does_not_fit_is_refused() -> None:
    vocabulary = tokenizer("vicuna_v1")
    with pytest.raises(UsageError, match="choose chatml or "):
        choose_prompt("alpaca", SILENT, NOWHERE, vocabulary, LLAMA)
    says = Section({"llava_edge": {"prompt": "alpaca"}}, "config.json")
    with pytest.raises(CheckpointError, match="alpaca"):
        choose_prompt(None, says, NOWHERE, vocabulary, LLAMA)
    with pytest.raises(CheckpointError, match=r"<\|im_end\|>"):
        choose_prompt("chatml", SILENT, NOWHERE, vocabulary, LLAMA)
