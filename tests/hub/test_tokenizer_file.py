"""A tokenizer must be there, fit the embedding table and know the prompt format's tokens."""

import json
import shutil
from pathlib import Path

import pytest
import tiny
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from llava_edge.errors import CheckpointError
from llava_edge.export.layouts.tokenizer_fit import within_vocabulary
from llava_edge.hub.tokenizer_file import read_tokenizer_file


def test_every_token_has_a_row() -> None:
    tokenizer = tiny.tokenizer()
    size = tokenizer.get_vocab_size()
    within_vocabulary(tokenizer, size, Path("here"))
    with pytest.raises(CheckpointError, match=f"only {size - 1} rows"):
        within_vocabulary(tokenizer, size - 1, Path("here"))


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("text", [*tiny.SENTENCES, "", "  two  spaces", "\U0001f34e\n\n cat"])
def test_sentencepiece_models_are_read_as_sentencepiece_does(
    sentencepiece_model: dict[bool, Path], prefix: bool, text: str
) -> None:
    folder = sentencepiece_model[prefix]
    ours = read_tokenizer_file(folder)
    theirs = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    ids = ours.encode(text, add_special_tokens=False).ids
    assert ids == theirs.encode(text)
    assert ours.decode(ids) == theirs.decode(ids) == text
    assert ours.token_to_id("</s>") == theirs.eos_id()
    assert ours.encode("<s>", add_special_tokens=False).ids == [theirs.bos_id()]


@pytest.fixture(scope="module")
def sentencepiece_model(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Folders whose tokenizer.model, of its own trainer, puts a space first or does not."""
    folders = {prefix: tmp_path_factory.mktemp("sentencepiece") for prefix in (True, False)}
    for prefix, folder in folders.items():
        with (folder / "tokenizer.model").open("wb") as file:
            SentencePieceTrainer.train(
                sentence_iterator=iter(tiny.SENTENCES * 3),
                model_writer=file,
                model_type="bpe",
                vocab_size=340,
                byte_fallback=True,
                add_dummy_prefix=prefix,
                remove_extra_whitespaces=False,
                normalization_rule_name="identity",
                minloglevel=2,
            )
    return folders


def test_tokens_that_were_added_later(
    sentencepiece_model: dict[bool, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(sentencepiece_model[True], tmp_path / "copy"))
    added = {"<|im_end|>": 341, "<|im_start|>": 340, "<s>": 1}
    (folder / "added_tokens.json").write_text(json.dumps(added))
    tokenizer = read_tokenizer_file(folder)
    assert {token: tokenizer.token_to_id(token) for token in added} == added
    assert tokenizer.encode("<|im_end|>", add_special_tokens=False).ids == [341]
    (folder / "added_tokens.json").write_text('{"<|im_end|>": 350}')
    with pytest.raises(CheckpointError, match="the id 350, but 340 follows"):
        read_tokenizer_file(folder)


def test_other_sentencepiece_models_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "tokenizer.model").open("wb") as file:
        SentencePieceTrainer.train(
            sentence_iterator=iter(tiny.SENTENCES), model_writer=file, vocab_size=50, minloglevel=2
        )
    with pytest.raises(CheckpointError, match="is not a BPE model"):
        read_tokenizer_file(tmp_path)


def test_missing_or_broken(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has neither"):
        read_tokenizer_file(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(CheckpointError, match="cannot be read as a tokenizer"):
        read_tokenizer_file(tmp_path)
