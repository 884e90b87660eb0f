"""An answer ends at every id that a file of the checkpoint says ends one."""

import json
from pathlib import Path
from typing import Any

import pytest
from sessions import EXACT
from tiny import VOCAB_SIZE, Tiny, tokenizer, write_llava

from llava_edge import Options, load
from llava_edge.core.bundle import read_bundle
from llava_edge.errors import BundleError, CheckpointError
from llava_edge.export.export import export
from llava_edge.export.layouts.checkpoint import open_checkpoint
from llava_edge.export.prompts.eos_ids import folder_eos_ids, gguf_eos_ids, known_ids

FILES: dict[str, tuple[dict[str, Any], set[int]]] = {
    "generation_config.json": ({"eos_token_id": [5, 300]}, {5, 300}),
    "config.json": ({"eos_token_id": 7, "text_config": {"eos_token_id": [8, 9]}}, {7, 8, 9}),
    "tokenizer_config.json": ({"eos_token": "<|im_end|>"}, {2}),
    "special_tokens_map.json": ({"eos_token": {"content": "<|endoftext|>"}}, {0}),
}


def test_every_file_is_read(tmp_path: Path) -> None:
    expected: set[int] = set()
    assert folder_eos_ids(tmp_path, tokenizer()) == expected
    for name, (values, ids) in FILES.items():
        (tmp_path / name).write_text(json.dumps(values))
        expected |= ids
        assert folder_eos_ids(tmp_path, tokenizer()) == expected


def test_a_gguf_files_ends_of_texts_and_turns_are_read() -> None:
    metadata = {"tokenizer.ggml.eos_token_id": 4, "tokenizer.ggml.eot_token_id": 6}
    assert gguf_eos_ids(metadata) == {4, 6}


@pytest.mark.parametrize("value", ["2", [True], 1.5, [[2]]])
def test_what_is_no_id_is_refused(value: Any, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": value}))
    with pytest.raises(CheckpointError, match=r"generation_config.json gives .* as eos_token_id"):
        folder_eos_ids(tmp_path, tokenizer())


def test_odd_ids_are_named() -> None:
    known, notes = known_ids({2, 300, -1}, VOCAB_SIZE, tokenizer())
    assert known == (2,)
    assert notes == (
        "The checkpoint ends answers at -1, 300 too, but the vocabulary has 293 ids only; left "
        "out.",
    )
    word = tokenizer().token_to_id("a")
    assert "ordinary token 'a'" in known_ids({2, word}, VOCAB_SIZE, tokenizer())[1][0]
    assert "No file says what ends an answer" in known_ids((), VOCAB_SIZE, tokenizer())[1][0]


def test_an_answer_ends_there(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    write_llava(checkpoint, Tiny())
    export(checkpoint, tmp_path / "before", precision=EXACT, devices=("cpu",))
    options = Options(max_tokens=12, temperature=0, logprobs=0)

    def answered(bundle: str) -> tuple[list[int], str | None]:
        pieces = list(load(tmp_path / bundle, device="cpu").stream("Where?", None, options))
        return [each.id for piece in pieces for each in piece.logprobs], pieces[-1].finish

    whole, finish = answered("before")
    assert finish == "length"
    end = next(id for place, id in enumerate(whole) if place > 1 and id not in whole[:place])
    (checkpoint / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, end, 300]}))
    config = export(checkpoint, tmp_path / "after", precision=EXACT, devices=("cpu",))
    assert config.decoder.stop_ids == tuple(sorted((2, end)))
    shorter, finish = answered("after")
    assert finish == "stop" and shorter[: whole.index(end)] == whole[: whole.index(end)]
    assert len(shorter) <= whole.index(end) + 1


def test_the_prompts_own_stop_is_among_them(tmp_path: Path) -> None:
    write_llava(tmp_path, Tiny())
    config = json.loads((tmp_path / "config.json").read_text())
    config["text_config"]["eos_token_id"] = [0, 300]
    (tmp_path / "config.json").write_text(json.dumps(config))
    opened = open_checkpoint(tmp_path)
    assert opened.stop_ids == (0, tokenizer().token_to_id("<|im_end|>"))
    assert any("300 too" in note for note in opened.notes)


def test_a_bundle_with_ids_beyond_its_vocabulary_is_refused(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    values = json.loads((tiny_bundle / "bundle.json").read_text())
    values["decoder"]["stop_ids"] = [VOCAB_SIZE]
    (tmp_path / "bundle.json").write_text(json.dumps(values))
    with pytest.raises(BundleError, match=f"in decoder, stop_ids has {VOCAB_SIZE}"):
        read_bundle(tmp_path)
