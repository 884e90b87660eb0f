"""The ids of conversations are those of transformers' own apply_chat_template."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_templates import ODD, PROCESSORS, TOKENIZERS, Kind
from PIL import Image
from tiny import SENTENCES
from tokenizer_kinds import byte_level, llama
from tokenizers import Tokenizer as Plain
from tokenizers import processors
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    CLIPImageProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from llava_edge.core.bundle_config import PromptConfig
from llava_edge.core.prompt import IMAGE, Picture, WrittenMessage, render
from llava_edge.core.strict import Section
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.export.prompts.chat_sources import ChatSources
from llava_edge.export.prompts.choose_prompt import ChosenPrompt, choose_prompt
from llava_edge.export.prompts.usual_prompt import Kind as CheckpointKind

HUGGINGFACE = CheckpointKind("llama", original=False, tiled=False)
CORPUS = [*SENTENCES, "USER: Hi ASSISTANT: Ho", "[INST] <<SYS>>\n x <</SYS>> [/INST]", "\n\n \n"]
WORDS = (
    "Where is it?",
    " ",
    "  two before and after  ",
    "\n\nlines\n",
    "[INST] ha [/INST] USER: ASSISTANT:",
    "the <image > and < image>, <Image>, <|image|>",
    "user assistant system model",
    "\u6f22\u5b57 \U0001f44d\U0001f3fd \u00e9e\u0301 \u2581\u2581",
    "{{ bos_token }}{% if %}{#",
    "###",
)
PICTURE = Image.new("RGB", (14, 14))
Conversation = list[tuple[str, list[str | None]]]  # None is a picture


def tokenizer(kind: Kind) -> Plain:
    special = [token for token in (*kind.special, "<image>") if token != "<unk>"]
    if kind.level in ("byte", "words"):
        plain = byte_level(special, CORPUS, words=kind.level == "words")
    else:
        plain = llama(kind.level, special, CORPUS)
    if kind.adds_bos and kind.bos:
        id = plain.token_to_id(kind.bos)
        plain.post_processor = processors.TemplateProcessing(
            single=f"{kind.bos} $A", special_tokens=[(kind.bos, id)]
        )
    return plain


def write(kind: Kind, folder: Path, *, processor: bool) -> Any:
    """A folder as transformers saves it; returns what it loads of it."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer(kind), bos_token=kind.bos, eos_token=kind.eos
    )
    if not processor:
        fast.chat_template = kind.template
        fast.save_pretrained(folder, save_jinja_files=False)
        return AutoTokenizer.from_pretrained(folder)
    side = {"size": {"shortest_edge": 14}, "crop_size": {"height": 14, "width": 14}}
    whole = LlavaProcessor(
        CLIPImageProcessor(**side),
        fast,
        chat_template=kind.template,
        patch_size=14,  # so a picture is one image token
        num_additional_image_tokens=1,
        vision_feature_select_strategy="default",
    )
    whole.save_pretrained(folder)
    return AutoProcessor.from_pretrained(folder)


def derived(kind: Kind, folder: Path) -> ChosenPrompt:
    says = Section({}, "config.json")
    chosen = choose_prompt(None, says, ChatSources((folder,)), tokenizer(kind), HUGGINGFACE)
    assert chosen.source in ("chat_template.jinja", "tokenizer_config.json")
    assert chosen.prompt.name == "template"
    return chosen


def conversations(prompt: PromptConfig, seed: int, count: int = 80) -> Iterator[Conversation]:
    draw = random.Random(seed)
    for _ in range(count):
        turns: Conversation = []
        if prompt.system_prefix is not None and draw.random() < 0.4:
            turns.append(("system", [draw.choice(WORDS)]))
        for _ in range(draw.randint(1, 4)):
            parts: list[str | None] = [draw.choice(WORDS)]
            for _ in range(draw.choice((0, 0, 1, 2))):
                parts.insert(draw.randint(0, len(parts)), None)
            if parts[-1] is None and draw.random() < 0.5:
                parts.append(draw.choice(WORDS))
            turns += [("user", parts), ("assistant", [draw.choice(WORDS).strip() or "Yes."])]
        yield turns[:-1]


def theirs(judge: Any, turns: Conversation) -> list[int]:
    parts = hasattr(judge, "image_processor")
    messages = [{"role": role, "content": content(said, parts)} for role, said in turns]
    ids = judge.apply_chat_template(
        messages, tokenize=True, add_generation_prompt=True, return_dict=True
    )["input_ids"]
    return list(ids[0] if parts else ids)


def content(said: list[str | None], parts: bool) -> str | list[dict[str, Any]]:
    if not parts:
        return "".join(IMAGE if part is None else part for part in said)
    picture = {"type": "image", "image": PICTURE}
    return [picture if part is None else {"type": "text", "text": part} for part in said]


def ours(prompt: PromptConfig, plain: Tokenizer, turns: Conversation) -> list[int | None]:
    picture = IMAGE + (prompt.image_suffix if prompt.pictures != "as_written" else "")
    messages = [
        WrittenMessage(role, "".join(picture if part is None else part for part in said))  # type: ignore[arg-type]
        for role, said in turns
    ]
    image = plain.token_id(IMAGE)
    return [
        id
        for segment in render(messages, prompt, plain)
        for id in ([image] if isinstance(segment, Picture) else segment.ids)
    ]


def compare(kind: Kind, folder: Path, *, processor: bool) -> tuple[bool, list[str]]:
    """Whether all conversations are the same, and what the notes say of those that are not."""
    judge = write(kind, folder, processor=processor)
    chosen, plain = derived(kind, folder), Tokenizer(tokenizer(kind))
    prompt = chosen.prompt
    drawn = list(conversations(prompt, 7))
    same = [ours(prompt, plain, turns) == theirs(judge, turns) for turns in drawn]
    return all(same), [note for note in chosen.notes if "Not all of" in note]


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_processors_template_is_kept(name: str, tmp_path: Path) -> None:
    assert compare(PROCESSORS[name], tmp_path, processor=True) == (True, [])


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizers_template_is_kept(name: str, tmp_path: Path) -> None:
    kind = TOKENIZERS[name]
    same, differs = compare(kind, tmp_path, processor=False)
    if kind.traits:
        assert all(trait in differs[0] for trait in kind.traits)
    else:
        assert same and not differs


@pytest.mark.parametrize("name", ODD)
def test_what_a_format_cannot_express_is_said(name: str, tmp_path: Path) -> None:
    kind, said = ODD[name]
    write(kind, tmp_path, processor=True)
    notes = derived(kind, tmp_path).notes
    assert any(said in note for note in notes), notes
