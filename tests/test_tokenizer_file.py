"""A tokenizer must be there, fit the embedding table and know the prompt format's tokens."""

from pathlib import Path

import pytest
import tiny

from llava_edge.errors import CheckpointError, UsageError
from llava_edge.export.checkpoint_section import Section
from llava_edge.export.tokenizer_file import (
    check_vocabulary,
    choose_prompt,
    read_tokenizer_file,
)

SILENT = Section({}, "config.json")


@pytest.mark.parametrize("name", ["chatml", "vicuna_v1"])
def test_the_tokenizer_suggests_the_prompt_format(name: str) -> None:
    assert choose_prompt(None, SILENT, tiny.tokenizer(name)).name == name


def test_config_and_caller_decide() -> None:
    tokenizer = tiny.tokenizer("vicuna_v1")
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    says = Section({"llava_edge": {"prompt": "vicuna_v1"}}, "config.json")
    assert choose_prompt(None, SILENT, tokenizer).name == "chatml"
    assert choose_prompt(None, says, tokenizer).name == "vicuna_v1"
    assert choose_prompt("chatml", says, tokenizer).name == "chatml"


def test_what_does_not_fit_is_refused() -> None:
    tokenizer = tiny.tokenizer("vicuna_v1")
    with pytest.raises(UsageError, match="choose chatml or vicuna_v1"):
        choose_prompt("alpaca", SILENT, tokenizer)
    with pytest.raises(CheckpointError, match="alpaca"):
        choose_prompt(None, Section({"llava_edge": {"prompt": "alpaca"}}, "c"), tokenizer)
    with pytest.raises(CheckpointError, match=r"<\|im_end\|>"):
        choose_prompt("chatml", SILENT, tokenizer)


def test_every_token_has_a_row() -> None:
    tokenizer = tiny.tokenizer()
    size = tokenizer.get_vocab_size()
    check_vocabulary(tokenizer, size, Path("here"))
    with pytest.raises(CheckpointError, match=f"only {size - 1} rows"):
        check_vocabulary(tokenizer, size - 1, Path("here"))


def test_missing_or_broken(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json"):
        read_tokenizer_file(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(CheckpointError, match="cannot be read as a tokenizer"):
        read_tokenizer_file(tmp_path)
