"""The ids that a checkpoint's files say end an answer."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.prompts.chat_files import read_section, token_text


def folder_eos_ids(folder: Path, tokenizer: Tokenizer) -> set[int]:
    """By generation_config.json, config.json and its text_config, and the tokenizer's files.

    Raises CheckpointError where they are broken.
    """
    config = read_section(folder / "config.json")
    text = config.section("text_config") if config.has("text_config") else Section({}, "")
    sections = (read_section(folder / "generation_config.json"), config, text)
    ids = {id for section in sections for id in _ids(section)}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        token = token_text(read_section(folder / name).values.get("eos_token"))
        id = None if token is None else tokenizer.token_to_id(token)
        ids |= set() if id is None else {id}
    return ids


def gguf_eos_ids(metadata: Mapping[str, Any]) -> set[int]:
    """By the metadata of a GGUF file: the end of a text, and the end of a turn."""
    found = (metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom"))
    return {id for id in found if type(id) is int}


def known_ids(
    ids: Iterable[int], vocab_size: int, tokenizer: Tokenizer
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The ids that the model has, in their order, and a sentence on each that is odd."""
    known = tuple(sorted(id for id in ids if 0 <= id < vocab_size))
    notes = []
    if beyond := sorted(id for id in ids if not 0 <= id < vocab_size):
        notes.append(
            f"The checkpoint ends answers at {', '.join(map(str, beyond))} too, but the "
            f"vocabulary has {vocab_size:,} ids only; left out."
        )
    added = tokenizer.get_added_tokens_decoder()
    for id in known:
        if id not in added and (token := tokenizer.id_to_token(id)) is not None:
            notes.append(
                f"Answers end at the ordinary token {token!r} too, whose id {id} is an "
                "eos_token_id of the checkpoint."
            )
    if not known:
        notes.append(
            "No file says what ends an answer, so it goes on until max_tokens or a stop string."
        )
    return known, tuple(notes)


def _ids(section: Section) -> Iterator[int]:
    value = section.values.get("eos_token_id")
    for id in value if isinstance(value, list) else [] if value is None else [value]:
        if type(id) is not int:
            raise CheckpointError(
                f"{section.where} gives {id!r} as eos_token_id, but a whole number or a list of "
                "them was expected; correct the file."
            )
        yield id
