"""A GGUF file yields what transformers makes of it."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tiny
import torch
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tiny import Tiny
from tiny_gguf import write_gguf
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedModel

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.formats.gguf_file import open_gguf
from llava_edge.export.layouts.tensor_names import canonical
from llava_edge.export.layouts.text_config import read_text_config
from llava_edge.hub.sentencepiece_bpe import BpePiece, PieceKind

TEXTS = (
    "There are 12 red apples, 345 cats and 1.5 dogs.",
    "\u00e0 c\u00f4t\u00e9 d'une pomme \U0001f34e \u6f22\u5b57",
    "two  spaces\n\n\tand lines \n",
    "<|im_start|>user\nIs there a dog?<|im_end|>\n<|im_start|>assistant\n",
    "",
)


def write(path: Path, options: Tiny, *, quantized: bool = False) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny.text_config(options)).eval()
    tiny.randomize(model)
    write_gguf(path, model, tiny.tokenizer(), quantized=quantized)
    return model


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("quantized", "atol"), [(False, 0), (True, 0.01)])
def test_tensors_equal_transformers(
    tmp_path: Path, tied: bool, quantized: bool, atol: float
) -> None:
    model = write(tmp_path / "tiny.gguf", Tiny(tied=tied), quantized=quantized)
    base = open_gguf(tmp_path / "tiny.gguf")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf")
    for name, expected in loaded.state_dict().items():
        if name == "lm_head.weight" and tied:
            continue
        read = base.tensors[canonical(name)].read()
        np.testing.assert_array_equal(read, expected.numpy())
        np.testing.assert_allclose(read, model.state_dict()[name].numpy(), atol=atol)
    assert base.text.tied == tied
    assert base.text.rms_norm_eps == 1e-5  # not 9.999999747378752e-06


def test_biases_are_reordered_too(tmp_path: Path) -> None:
    model = write(tmp_path / "tiny.gguf", Tiny(attention_bias=True, mlp_bias=True))
    base = open_gguf(tmp_path / "tiny.gguf")
    assert base.text.qkv_bias and base.text.output_bias and base.text.mlp_bias
    for name, expected in model.state_dict().items():
        np.testing.assert_array_equal(base.tensors[canonical(name)].read(), expected.numpy())


@pytest.mark.parametrize("decoder", ["llama", "mistral", "qwen2", "qwen3", "smollm3"])
def test_every_kind_is_computed_as_it_was(tmp_path: Path, decoder: Any) -> None:
    options = Tiny(decoder=decoder, tied=decoder == "smollm3", text_layers=5, no_rope_interval=4)
    model = write(tmp_path / "tiny.gguf", options)
    base = open_gguf(tmp_path / "tiny.gguf")
    assert base.text == read_text_config(Section(model.config.to_dict(), "config.json"))
    for name, expected in model.state_dict().items():
        if name == "lm_head.weight" and options.tied:
            continue
        np.testing.assert_array_equal(base.tensors[canonical(name)].read(), expected.numpy())


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("words", ["qwen2", "llama-bpe"])
def test_other_byte_level_tokenizers(tmp_path: Path, text: str, words: str) -> None:
    """Cut into words by the patterns of the published tokenizers."""
    model = AutoModelForCausalLM.from_config(tiny.text_config(Tiny(text_layers=1)))
    write_gguf(tmp_path / "tiny.gguf", model, tiny.tokenizer(), words=words)
    read = open_gguf(tmp_path / "tiny.gguf").tokenizer
    ids = read.encode(text).ids
    assert read.decode(ids, skip_special_tokens=False) == text
    pieces = [piece for piece, _ in read.pre_tokenizer.pre_tokenize_str("It's 12345 cats")]
    digits = ["\u0120", "123", "45"] if words == "llama-bpe" else ["\u0120", *"12345"]
    assert pieces == ["It", "'s", *digits, "\u0120cats"]


@pytest.mark.parametrize("text", TEXTS[:3])
def test_sentencepiece_tokenizers(tmp_path: Path, text: str) -> None:
    with (tmp_path / "tokenizer.model").open("wb") as file:
        SentencePieceTrainer.train(
            sentence_iterator=iter(tiny.SENTENCES * 3),
            model_writer=file,
            model_type="bpe",
            vocab_size=340,
            byte_fallback=True,
            remove_extra_whitespaces=False,
            normalization_rule_name="identity",
            minloglevel=2,
        )
    original = SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    kinds = [
        PieceKind.UNKNOWN
        if original.is_unknown(id)
        else PieceKind.CONTROL
        if original.is_control(id)
        else PieceKind.BYTE
        if original.is_byte(id)
        else PieceKind.NORMAL
        for id in range(original.vocab_size())
    ]
    pieces = [
        BpePiece(original.id_to_piece(id), original.get_score(id), kind)
        for id, kind in enumerate(kinds)
    ]
    model = AutoModelForCausalLM.from_config(tiny.text_config(Tiny(text_layers=1)))
    write_gguf(tmp_path / "tiny.gguf", model, pieces)
    read = open_gguf(tmp_path / "tiny.gguf").tokenizer
    assert read.encode(text, add_special_tokens=False).ids == original.encode(text)


@pytest.mark.parametrize("text", TEXTS)
def test_ids_equal_the_original_tokenizer(tmp_path: Path, text: str) -> None:
    write(tmp_path / "tiny.gguf", Tiny(text_layers=1))
    read = open_gguf(tmp_path / "tiny.gguf").tokenizer
    original = tiny.tokenizer()
    original.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), original.pre_tokenizer]
    )
    ids = read.encode(text).ids
    assert ids == original.encode(text).ids
    assert read.decode(ids, skip_special_tokens=False) == text
    assert "<|im_start|>" not in read.decode(ids)


def test_the_tokenizer_survives_its_file(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", Tiny(text_layers=1))
    read = open_gguf(tmp_path / "tiny.gguf").tokenizer
    read.save(str(tmp_path / "tokenizer.json"))
    again = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert [again.encode(text).ids for text in TEXTS] == [read.encode(text).ids for text in TEXTS]


@pytest.mark.parametrize("kept", [0, 3, 100, 5000, -1000])
def test_cut_short(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "tiny.gguf"
    write(path, Tiny(text_layers=1))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="no GGUF file"):
        open_gguf(path)


def test_overlapping_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write(path, Tiny(text_layers=1))
    reader = gguf.GGUFReader(path, "r+")
    second = reader.tensors[1]
    second.field.parts[-1][0] -= 64  # the offset of its data
    reader.data.flush()
    with pytest.raises(CheckpointError, match=f"and {second.name} overlap"):
        open_gguf(path)


@pytest.mark.parametrize(
    ("number", "message"),
    [(4099, "type that the gguf package does not know"), (15, "as Q8_K, which the gguf package")],
)
def test_types_that_cannot_be_read_are_named(tmp_path: Path, number: int, message: str) -> None:
    """One of a newer file's, and one without a dequantizer."""
    path = tmp_path / "tiny.gguf"
    write(path, Tiny(text_size=192, text_inner=256))
    content, name = bytearray(path.read_bytes()), b"blk.0.ffn_down.weight"  # [192, 256]
    place = content.index(name) + len(name) + 4 + 2 * 8  # after how many sizes there are, and these
    content[place : place + 4] = number.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        open_gguf(path).tensors["language_model.layers.0.mlp.down_proj.weight"].read()


def write_metadata(path: Path, architecture: str, **strings: str) -> None:
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in strings.items():
        writer.add_string(key.replace("__", "."), value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize(
    ("architecture", "strings", "message"),
    [
        ("gemma", {}, '"gemma" as general.architecture, but "llama" or'),
        ("llama", {"llama__rope__scaling__type": "yarn"}, "rope scaling"),
        ("llama", {}, r"gives nothing as llama\.embedding_length"),
    ],
)
def test_other_models_are_refused(
    tmp_path: Path, architecture: str, strings: dict[str, str], message: str
) -> None:
    write_metadata(tmp_path / "other.gguf", architecture, **strings)
    with pytest.raises(CheckpointError, match=message):
        open_gguf(tmp_path / "other.gguf")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no file"):
        open_gguf(tmp_path / "nowhere.gguf")
