"""What an adapter is compared with is peft's reading of it, not ours."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sessions import EXACT
from tiny import Tiny, tokenizer, write_demo
from tiny_adapters import IDS, edit_adapter, logits, write_adapter

from llava_edge.core.bundle import read_bundle
from llava_edge.errors import CheckpointError, QualityError, UsageError
from llava_edge.export.export import Check, export
from llava_edge.export.layouts.adapter_config import AdapterConfig
from llava_edge.export.layouts.checkpoint import open_checkpoint
from llava_edge.export.reference import Reference


def test_a_wrong_reading_of_ours_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_adapter(tmp_path / "adapter", tmp_path / "base")
    wanted = Check(wanted=True)
    config = export(tmp_path / "adapter", tmp_path / "right", precision=EXACT, check=wanted)
    assert config.quality is not None and config.quality.kl_mean < 1e-5
    scale = AdapterConfig.scale
    monkeypatch.setattr(AdapterConfig, "scale", lambda *arguments: 2 * scale(*arguments))
    with pytest.raises(QualityError, match="kl_mean is"):
        export(tmp_path / "adapter", tmp_path / "wrong", precision=EXACT, check=wanted)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "base", "right"]


def test_without_peft_the_output_says_who_read_the_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_adapter(tmp_path / "adapter", tmp_path / "base")
    monkeypatch.setitem(sys.modules, "peft", None)  # as where it is not installed
    config = export(tmp_path / "adapter", tmp_path / "bundle", check=Check(wanted=True))
    assert config.quality is not None
    assert "peft cannot be imported" in caplog.text
    assert "so the adapter is compared as llava-edge itself reads it" in caplog.text
    assert "pip install '.[adapters]'" in caplog.text


def test_an_adapter_that_peft_refuses_leaves_the_bundle_unverified(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_adapter(tmp_path / "adapter", tmp_path / "base")
    edit_adapter(tmp_path / "adapter", target_modules=["gate_proj"])
    assert export(tmp_path / "adapter", tmp_path / "bundle", check=Check()).quality is None
    assert "not verified: peft cannot read the adapter" in caplog.text
    with pytest.raises(UsageError, match="cannot be verified: peft cannot read"):
        export(tmp_path / "adapter", tmp_path / "other", check=Check(wanted=True))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("tied", [False, True])
def test_an_adapter_of_a_language_model_alone(tmp_path: Path, tied: bool) -> None:
    base = tmp_path / "base.gguf"
    model = write_demo(tmp_path / "demo", base, Tiny(tied=tied))
    reference = Reference(open_checkpoint(tmp_path / "demo", base=base), judging=True)
    found = reference.score(reference.embed(list(IDS)), range(len(IDS)))
    np.testing.assert_allclose(found, logits(model), atol=1e-4)


def test_pictures_go_through_what_was_trained(tmp_path: Path, photo: Image.Image) -> None:
    """Adapters on the tower, and a projector trained in full."""
    settings = {"target_modules": ["fc1"], "modules_to_save": ["multi_modal_projector"]}
    write_adapter(tmp_path / "adapter", tmp_path / "base", **settings)
    checkpoint = open_checkpoint(tmp_path / "adapter")
    assert checkpoint.unadapted is not None
    judge, ours, base = (
        Reference(checkpoint, judging=True),
        Reference(checkpoint),
        Reference(checkpoint.unadapted),
    )
    np.testing.assert_allclose(ours.encode(photo), judge.encode(photo), atol=1e-4)
    assert np.abs(base.encode(photo) - judge.encode(photo)).max() > 0.1


def test_a_resized_vocabulary_and_its_tokenizer(tmp_path: Path) -> None:
    """The adapter brings rows for its own tokens; the bundle knows both."""
    saved = {"rows": 300, "modules_to_save": ["embed_tokens", "lm_head"]}
    write_adapter(tmp_path / "adapter", tmp_path / "base", **saved)
    own = tokenizer()
    own.add_tokens([f"<own {number}>" for number in range(300 - own.get_vocab_size())])
    own.save(str(tmp_path / "adapter" / "tokenizer.json"))
    checkpoint = open_checkpoint(tmp_path / "adapter")
    assert checkpoint.tokenizer_from == tmp_path / "adapter"
    wanted = Check(wanted=True)
    export(tmp_path / "adapter", tmp_path / "bundle", precision=EXACT, check=wanted)
    config = read_bundle(tmp_path / "bundle")
    assert config.decoder.vocab_size == 300
    assert config.quality is not None and config.quality.kl_mean < 1e-5
    added = json.loads((tmp_path / "bundle" / "tokenizer.json").read_text())["added_tokens"]
    assert added[-1]["content"] == own.id_to_token(299)


def test_the_tokenizer_of_an_adapter_wins(tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapter", tmp_path / "base")
    assert open_checkpoint(tmp_path / "adapter").tokenizer_from == tmp_path / "base"
    own = tokenizer()
    own.add_tokens(["<own>"])
    own.save(str(tmp_path / "adapter" / "tokenizer.json"))
    checkpoint = open_checkpoint(tmp_path / "adapter")
    assert checkpoint.tokenizer_from == tmp_path / "adapter"
    assert checkpoint.tokenizer.token_to_id("<own>") == own.token_to_id("<own>")


def test_the_preprocessing_of_an_adapter_wins(tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapter", tmp_path / "base")
    file = tmp_path / "adapter" / "preprocessor_config.json"
    file.write_text(json.dumps({"image_mean": [0.1, 0.2, 0.3]}))
    assert open_checkpoint(tmp_path / "adapter").image.mean == (0.1, 0.2, 0.3)
    assert open_checkpoint(tmp_path / "base").image.mean != (0.1, 0.2, 0.3)


def test_a_refused_adapter_leaves_nothing(tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapter", tmp_path / "base")
    edit_adapter(tmp_path / "adapter", init_lora_weights="corda")
    with pytest.raises(CheckpointError):
        export(tmp_path / "adapter", tmp_path / "bundle")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "base"]
