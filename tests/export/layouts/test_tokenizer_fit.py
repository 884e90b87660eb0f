"""A tokenizer loses the added tokens that have no row, and no others."""

import json
from pathlib import Path

import pytest
import tiny
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from llava_edge.errors import CheckpointError
from llava_edge.export.export import export
from llava_edge.export.layouts.checkpoint import open_checkpoint
from llava_edge.export.layouts.tokenizer_fit import within_vocabulary

TEXT = "<|im_start|>user\nThere are 12 cats<pad><|im_end|>"


def with_pad() -> tuple[Tokenizer, int]:
    """A tokenizer whose padding is one beyond the rows, and the number of rows."""
    tokenizer = tiny.tokenizer()
    rows = tokenizer.get_vocab_size()
    tokenizer.add_special_tokens(["<pad>"])
    tokenizer.enable_padding(pad_id=rows, pad_token="<pad>", length=40)
    return tokenizer, rows


def test_an_added_token_beyond_the_table_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer, rows = with_pad()
    fitting = within_vocabulary(tokenizer, rows, tmp_path)
    assert f"{tmp_path} adds <pad> beyond the {rows} rows" in caplog.text
    expected = tiny.tokenizer()
    assert fitting.get_vocab() == expected.get_vocab()
    assert fitting.encode(TEXT).ids == expected.encode(TEXT).ids


def test_a_tokenizer_that_fits_stays_as_it_is(tmp_path: Path) -> None:
    tokenizer, rows = with_pad()
    assert within_vocabulary(tokenizer, rows + 1, tmp_path) is tokenizer


def test_a_token_of_its_own_vocabulary_is_refused(tmp_path: Path) -> None:
    tokenizer, rows = with_pad()
    with pytest.raises(CheckpointError, match=f"ids up to {rows}, .* only {rows - 1} rows"):
        within_vocabulary(tokenizer, rows - 1, tmp_path)


def test_a_token_around_every_text_is_refused(tmp_path: Path) -> None:
    tokenizer, rows = with_pad()
    tokenizer.post_processor = TemplateProcessing("<pad> $A", special_tokens=[("<pad>", rows)])
    with pytest.raises(CheckpointError, match=f"only {rows} rows"):
        within_vocabulary(tokenizer, rows, tmp_path)


def test_a_token_of_the_prompt_is_refused(tmp_path: Path) -> None:
    """The checkpoint has 293 rows, and the one that ends a turn would be the last of more."""
    tiny.write_llava(tmp_path / "checkpoint")
    content = json.loads(tiny.tokenizer().to_str())
    end = next(token for token in content["added_tokens"] if token["content"] == "<|im_end|>")
    content["added_tokens"].remove(end)
    content["model"]["vocab"]["<unused>"] = content["model"]["vocab"].pop("<|im_end|>")
    tokenizer = Tokenizer.from_str(json.dumps(content))
    missing = 293 - tokenizer.get_vocab_size()
    tokenizer.add_tokens([*(f"<own {number}>" for number in range(missing)), "<|im_end|>"])
    tokenizer.save(str(tmp_path / "checkpoint" / "tokenizer.json"))
    with pytest.raises(CheckpointError, match=r"needs the token <\|im_end\|>"):
        export(tmp_path / "checkpoint", tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_checkpoint_with_such_a_tokenizer_is_opened(tmp_path: Path) -> None:
    tiny.write_llava(tmp_path)
    tokenizer = tiny.tokenizer()
    missing = 293 - tokenizer.get_vocab_size()
    tokenizer.add_tokens([*(f"<own {number}>" for number in range(missing)), "<pad>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    opened = open_checkpoint(tmp_path).tokenizer
    assert opened.token_to_id("<pad>") is None and opened.get_vocab_size() == 293
