"""The template that transformers takes is the one that is found."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import tokenizer
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    CLIPImageProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from llava_edge.errors import CheckpointError
from llava_edge.export.prompts.chat_files import SIZE, find_template

NAMED = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "named"}]
# The files beside a processor, by what is written into them.
FOLDERS: dict[str, dict[str, Any]] = {
    "jinja": {"chat_template.jinja": "jinja"},
    "tokenizer's text": {"tokenizer_config.json": "text"},
    "tokenizer's list": {"tokenizer_config.json": NAMED},
    "json": {"chat_template.json": "json", "tokenizer_config.json": "text"},
    "json before jinja": {"chat_template.json": "json", "chat_template.jinja": "jinja"},
    "key before all": {
        "processor_config.json": "key",
        "chat_template.json": "json",
        "chat_template.jinja": "jinja",
    },
    "jinja before the tokenizer's": {"chat_template.jinja": "jinja", "tokenizer_config.json": "x"},
    "several files": {
        "chat_template.jinja": "jinja",
        "additional_chat_templates/tool_use.jinja": "tools",
    },
    "no default": {"additional_chat_templates/tool_use.jinja": "tools"},
    "nothing": {},
}


def write(folder: Path, files: dict[str, Any]) -> None:
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer(), eos_token="<|im_end|>")
    LlavaProcessor(CLIPImageProcessor(), fast, patch_size=14).save_pretrained(folder)
    for name, template in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix == ".jinja":
            path.write_text(template)
            continue
        values = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**values, "chat_template": template}))


def default(owner: Any) -> str | None:
    template = owner.chat_template
    found = template.get("default") if isinstance(template, dict) else template
    return None if found is None else str(found)


# transformers leaves the files of additional_chat_templates/ open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", FOLDERS)
def test_the_processors_goes_before_the_tokenizers(name: str, tmp_path: Path) -> None:
    write(tmp_path, FOLDERS[name])
    processor, loaded = AutoProcessor.from_pretrained(tmp_path), AutoTokenizer
    expected = default(processor) or default(loaded.from_pretrained(tmp_path))
    found = find_template(tmp_path, processor=True)
    assert (found and found.text) == expected
    if found is not None:
        assert found.of_processor == (default(processor) is not None)


@pytest.mark.parametrize("name", ["jinja", "tokenizer's text", "tokenizer's list", "no default"])
def test_a_tokenizers_own_is_found(name: str, tmp_path: Path) -> None:
    write(tmp_path, FOLDERS[name])
    (tmp_path / "processor_config.json").write_text(json.dumps({"chat_template": "not asked for"}))
    found = find_template(tmp_path, processor=False)
    assert (found and found.text) == default(AutoTokenizer.from_pretrained(tmp_path))
    assert found is None or not found.of_processor


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chat_template.json", b"{"),
        ("chat_template.json", b'{"chat_template": 3}'),
        ("chat_template.json", b"[]"),
        ("tokenizer_config.json", b'{"chat_template": [{"name": "default"}]}'),
        ("tokenizer_config.json", b'{"chat_template": ["x"]}'),
        ("chat_template.jinja", b"\xff\xfe"),
        ("chat_template.jinja", b"x" * (SIZE + 1)),
    ],
)
def test_broken_files_are_one_sentence(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        find_template(tmp_path, processor=True)
