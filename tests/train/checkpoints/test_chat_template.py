"""transformers writes with the template what was trained, and export derives the format again."""

from pathlib import Path
from typing import Any

import pytest
from tiny import tokenizer
from tokenizers import processors
from transformers.utils.chat_template_utils import render_jinja_template

from llava_edge.core.bundle_config import PromptConfig
from llava_edge.core.prompt import IMAGE, PROMPTS, WrittenMessage
from llava_edge.core.prompt_pieces import as_text
from llava_edge.core.strict import Section
from llava_edge.export.prompts.chat_sources import ChatSources
from llava_edge.export.prompts.choose_prompt import choose_prompt
from llava_edge.export.prompts.usual_prompt import Kind
from llava_edge.train.checkpoints.chat_template import FILE, chat_template, write_chat_template

SAID = ("Where is it?", "  It\u2019s \\n 'here'\n\n", "\u6f22 \U0001f642 {{ 1 }}", "yes")
HUGGINGFACE = Kind("llama", original=False, tiled=False)


def conversation(prompt: PromptConfig, count: int, *, picture: bool) -> list[WrittenMessage]:
    roles = ("user", "assistant")
    turns = [WrittenMessage(roles[place % 2], SAID[place]) for place in range(count)]  # type: ignore[arg-type]
    if picture:
        turns[0] = WrittenMessage("user", IMAGE + prompt.image_suffix + SAID[0])
    return turns


def as_parts(message: WrittenMessage, prompt: PromptConfig) -> dict[str, Any]:
    words = message.text.removeprefix("<image>" + prompt.image_suffix)
    parts = [{"type": "image"}] if words != message.text else []
    return {"role": message.role, "content": [*parts, {"type": "text", "text": words}]}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("system", [False, True])
@pytest.mark.parametrize("name", list(PROMPTS))
def test_transformers_writes_what_was_trained(name: str, system: bool, count: int) -> None:
    prompt = PROMPTS[name]
    template = chat_template(prompt, "<image>", tokenizer(name))
    for picture in (False, True):
        turns = conversation(prompt, count, picture=picture)
        if system:
            turns.insert(0, WrittenMessage("system", "Be 'brief'.\n"))
        strings = [{"role": turn.role, "content": turn.text} for turn in turns]
        parts = [as_parts(turn, prompt) for turn in turns]
        texts, _ = render_jinja_template(
            [strings, parts], chat_template=template, add_generation_prompt=True
        )
        assert texts == [as_text(turns, prompt)] * 2


@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("name", list(PROMPTS))
def test_export_derives_the_format_again(name: str, adds: bool, tmp_path: Path) -> None:
    prompt, plain = PROMPTS[name], tokenizer(name)
    if adds and prompt.bos:
        plain.post_processor = processors.TemplateProcessing(
            f"{prompt.bos} $A", special_tokens=[(prompt.bos, plain.token_to_id(prompt.bos))]
        )
    plain.save(str(tmp_path / "tokenizer.json"))
    write_chat_template(prompt, "<image>", plain, tmp_path)
    sources, silent = ChatSources((tmp_path,)), Section({}, "config.json")
    chosen = choose_prompt(None, silent, sources, plain, HUGGINGFACE)
    assert "64 conversations are the same" in chosen.notes[0]
    assert len(chosen.notes) == 1
    assert (chosen.prompt.stop, chosen.prompt.stop_strings) in (
        (prompt.stop, ()),
        ((), prompt.stop_strings),
    )
    for count in (1, 3):
        turns = conversation(prompt, count, picture=True)
        assert as_text(turns, chosen.prompt) == as_text(turns, prompt)


def test_a_template_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("its own")
    write_chat_template(PROMPTS["chatml"], "<image>", tokenizer(), tmp_path)
    assert (tmp_path / FILE).read_text() == "its own"
