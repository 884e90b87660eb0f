"""What stands before a text, and what special tokens are called, as transformers reads it."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import tokenizer
from tokenizers import Tokenizer, processors
from transformers import AutoTokenizer

from llava_edge.export.prompts.special_tokens import gguf_special_tokens, read_special_tokens

FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}
ADDED = {"__type": "AddedToken", "content": "</s>", "special": True}
CONFIGS: dict[str, dict[str, Any]] = {
    "says nothing": FAST,
    "names the tokens": {**FAST, "bos_token": "<s>", "eos_token": ADDED},
    "adds it": {**FAST, "bos_token": "<s>", "add_bos_token": True},
    "does not add it": {**FAST, "bos_token": "<s>", "add_bos_token": False},
    "has an image token": {**FAST, "extra_special_tokens": {"image_token": "<image>"}},
}


def plain(*, adds: bool) -> Tokenizer:
    made = tokenizer("vicuna_v1")
    if adds:
        made.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return made


@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_folder_is_read_as_by_transformers(name: str, adds: bool, tmp_path: Path) -> None:
    plain(adds=adds).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(CONFIGS[name]))
    judge = AutoTokenizer.from_pretrained(tmp_path)
    found = read_special_tokens(tmp_path, plain(adds=adds))
    first, *rest = judge("a").input_ids
    assert found.added == (judge.convert_ids_to_tokens(first) if rest else "")
    for token in ("bos_token", "eos_token"):
        assert found.named.get(token) == judge.special_tokens_map.get(token)


def test_llamas_class_has_names_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    found = read_special_tokens(tmp_path, plain(adds=False))  # of a tokenizer.model
    assert (found.named["bos_token"], found.named["eos_token"], found.added) == (
        "<s>",
        "</s>",
        "<s>",
    )


@pytest.mark.parametrize(("adds", "added"), [(True, "<s>"), (False, "")])
def test_a_gguf_file_names_them_by_id(adds: bool, added: str) -> None:
    metadata = {
        "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>"],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unk_token_id": 9,
        "tokenizer.ggml.add_bos_token": adds,
    }
    found = gguf_special_tokens(metadata)
    assert (found.named, found.added) == ({"bos_token": "<s>", "eos_token": "</s>"}, added)
