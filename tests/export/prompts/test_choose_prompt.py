"""The prompt format: the one asked for, training's own, the template's, or else the usual one."""

import json
from pathlib import Path

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


CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def chosen(sources: ChatSources, kind: Kind = LLAMA, asked: str | None = None) -> ChosenPrompt:
    return choose_prompt(asked, SILENT, sources, tokenizer(), kind)


def test_a_gguf_base_brings_its_template(tmp_path: Path) -> None:
    gguf = ChatSources((tmp_path,), {"tokenizer.chat_template": CHATML}, Path("base.gguf"))
    found = chosen(gguf)
    assert found.source == "base.gguf"
    assert found.prompt.user_prefix == "<|im_start|>user\n"
    assert found.prompt.stop == ("<|im_end|>",)
    (tmp_path / "chat_template.jinja").write_text(CHATML.replace("im_start", "endoftext"))
    assert chosen(gguf).prompt.user_prefix == "<|endoftext|>user\n"  # the folder's own goes first
    with pytest.raises(CheckpointError, match=r"base.gguf gives no text as tokenizer.chat_templ"):
        chosen(ChatSources((), {"tokenizer.chat_template": 3}, Path("base.gguf")))


def test_what_goes_before_is_read_first(tmp_path: Path) -> None:
    for name in ("adapter", "base"):
        (tmp_path / name).mkdir()
    (tmp_path / "base" / "chat_template.jinja").write_text(CHATML)
    sources = ChatSources((tmp_path / "base",)).under(tmp_path / "adapter")
    assert chosen(sources).source == "chat_template.jinja"
    (tmp_path / "adapter" / "tokenizer_config.json").write_text(
        json.dumps({"chat_template": CHATML.replace("assistant", "bot")})
    )
    assert chosen(sources).source == "tokenizer_config.json"
    assert chosen(sources).prompt.user_suffix.endswith("bot\n")


@pytest.mark.parametrize(("original", "token"), [(True, ""), (False, "<image>")])
def test_a_template_that_names_no_picture_is_taken_for_the_words(
    original: bool, token: str, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHATML}))
    found = chosen(ChatSources((tmp_path,)), Kind("llama", original=original, tiled=False))
    assert any("names no picture" in note for note in found.notes)
    assert (found.prompt.pictures, found.prompt.image_suffix) == ("as_written", "\n")
    assert found.prompt.image_token == token  # LLaVA's own code encodes around pictures otherwise


def test_llavas_own_code_may_write_another_format(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHATML}))
    found = chosen(ChatSources((tmp_path,)), Kind("qwen2", original=True, tiled=False))
    assert any("LLaVA's own code writes qwen" in note for note in found.notes)
    assert not any("own code" in note for note in chosen(ChatSources((tmp_path,))).notes)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("hello", "does not say what the user asks"),
        ("{{ raise_exception('never') }}", "does not say what the user asks"),
        (
            "{% for m in messages | reverse %}{{ m['role'] + m['content'] }}{% endfor %}",
            "changes the order",
        ),
        (
            "{% for m in messages %}{{ m['role'] + ':' + m['content'] * 2 }}{% endfor %}",
            "leaves out or repeats",
        ),
        ("{% for m in messages %}{{ m['content'].upper() }}{% endfor %}", "does not say"),
    ],
)
def test_a_template_of_no_such_form_is_refused(template: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text(template)
    with pytest.raises(CheckpointError, match=f"{reason}.*; choose the nearest format with"):
        chosen(ChatSources((tmp_path,)))
    assert chosen(ChatSources((tmp_path,)), asked="chatml").prompt.name == "chatml"


def test_a_template_without_turns_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text(
        "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    )
    found = chosen(ChatSources((tmp_path,)))
    assert (found.source, found.prompt.name) == ("guessed", "chatml")
    assert "a chat template without turns" in found.notes[0]
