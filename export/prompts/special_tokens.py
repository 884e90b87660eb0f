"""What the files beside a tokenizer say of its special tokens."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from llava_edge.export.prompts.chat_files import read_section, token_text

_LLAMA = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}  # its class's defaults


@dataclass(frozen=True)
class SpecialTokens:
    """Special tokens by name, such as `bos_token`, and what a tokenizer puts before a text."""

    named: Mapping[str, str]
    added: str  # the token that begins every text; "": none


def read_special_tokens(folder: Path, tokenizer: Tokenizer) -> SpecialTokens:
    """Read tokenizer_config.json and special_tokens_map.json, as transformers does.

    Raises CheckpointError where they are broken.
    """
    config = read_section(folder / "tokenizer_config.json")
    kind = config.text("tokenizer_class", "")
    named = dict(_LLAMA if kind.startswith(("Llama", "CodeLlama")) else {})
    named |= dict(_tokens(read_section(folder / "special_tokens_map.json").values))
    named |= dict(_tokens(config.values))
    if (folder / "tokenizer.json").exists():  # transformers 5 asks add_bos_token no more
        return SpecialTokens(named, _put_before(tokenizer))
    adds = config.flag("add_bos_token", True)
    return SpecialTokens(named, named.get("bos_token", "") if adds else "")


def gguf_special_tokens(metadata: Mapping[str, Any]) -> SpecialTokens:
    """The same of a GGUF file's metadata."""
    tokens = metadata.get("tokenizer.ggml.tokens", [])
    named = {}
    for name in ("bos", "eos", "unk", "pad"):
        id = metadata.get(f"tokenizer.ggml.{name}_token_id")
        if type(id) is int and 0 <= id < len(tokens):
            named[f"{name}_token"] = str(tokens[id])
    adds = metadata.get("tokenizer.ggml.add_bos_token", False)
    return SpecialTokens(named, named.get("bos_token", "") if adds else "")


def _tokens(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if name.endswith("_token") and (text := token_text(value)) is not None:
            yield name, text


def _put_before(tokenizer: Tokenizer) -> str:
    """What the tokenizer's post-processor begins a text with."""
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    whole = tokenizer.encode("a").ids
    before = whole[: len(whole) - len(plain)] if whole[-len(plain) :] == plain else whole[:1]
    return str(tokenizer.id_to_token(before[0])) if before and before != plain else ""
