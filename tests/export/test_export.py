"""An export ends in a whole bundle, or leaves everything as it was."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from decoder_judge import Judge, prompt_rows
from sessions import EXACT, Sessions
from tiny import Tiny, text_config, tokenizer, write_demo, write_llava
from transformers import LlamaConfig

from llava_edge.core.bundle import bundle_files, read_bundle, verify_checksums
from llava_edge.core.bundle_config import DeviceName
from llava_edge.errors import BundleError, CheckpointError, UsageError
from llava_edge.export.export import export
from llava_edge.export.quantization.precision import Method, Precision

WRITE_BUNDLE = import_module("llava_edge.export.write_bundle")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    write_llava(folder, Tiny(vision_layers=1, text_layers=1, feature_layer=-1))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("devices", [("cpu",), ("gpu",), ("cpu", "gpu")])
@pytest.mark.parametrize("method", ["kquant", "rtn", "nf4", "none"])
def test_the_bundle_is_whole(
    checkpoint: Path, tmp_path: Path, method: Method, devices: tuple[DeviceName, ...]
) -> None:
    precision = Precision(method)
    config = export(checkpoint, tmp_path / "bundle", precision=precision, devices=devices)
    assert read_bundle(tmp_path / "bundle") == config
    verify_checksums(tmp_path / "bundle", config)
    assert {path.name for path in tmp_path.iterdir()} == {"bundle"}
    assert {path.name for path in (tmp_path / "bundle").iterdir()} == {
        *bundle_files(devices),
        "bundle.json",
    }
    assert config.name == checkpoint.name
    assert config.vision.model_type == "clip_vision_model"
    assert config.prompt.name == "chatml"
    assert config.quantization.method == method
    assert config.quantization.bits == (32 if method == "none" else 4)
    assert config.quantization.embedding_bits == config.decoder.embedding.bits
    words = json.loads((tmp_path / "bundle" / "tokenizer.json").read_text("utf-8"))
    assert words == json.loads(tokenizer().to_str())


def test_the_same_checkpoint_gives_the_same_bytes(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        export(checkpoint, tmp_path / name)
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_a_demo_checkpoint_is_its_merged_model(tmp_path: Path) -> None:
    tiny, base = Tiny(tower="efficientnet_lite", tied=True), tmp_path / "base.gguf"
    judge = Judge(write_demo(tmp_path / "demo", base, tiny))
    config = export(tmp_path / "demo", tmp_path / "bundle", base=base, precision=EXACT)
    sessions = Sessions(tmp_path / "bundle")
    logits = sessions.logits(prompt_rows(sessions, judge))
    np.testing.assert_allclose(logits, judge.logits(config.vision.image_tokens), atol=1e-3)


def test_the_prompt_format_can_be_chosen(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        export(checkpoint, tmp_path / "bundle", prompt="no such prompt")
    assert export(checkpoint, tmp_path / "bundle", prompt="chatml").prompt.name == "chatml"


def test_what_exists_is_left_alone(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(BundleError, match="exists already"):
        export(checkpoint, tmp_path)
    assert contents(tmp_path) == {"kept": b"mine"}


def test_force_replaces_a_bundle_and_nothing_else(checkpoint: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    export(checkpoint, bundle, precision=EXACT)
    config = export(checkpoint, bundle, force=True)
    assert read_bundle(bundle) == config and config.quantization.bits == 4
    assert list(tmp_path.iterdir()) == [bundle]

    (bundle / "bundle.json").unlink()
    before = contents(bundle)
    with pytest.raises(BundleError, match="no bundle"):
        export(checkpoint, bundle, force=True)
    assert contents(bundle) == before


def test_missing_parents_are_made(checkpoint: Path, tmp_path: Path) -> None:
    export(checkpoint, tmp_path / "new" / "bundle")
    assert (tmp_path / "new" / "bundle" / "bundle.json").exists()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_halfway_leaves_what_was_there(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    export(checkpoint, tmp_path / "bundle")
    before = contents(tmp_path / "bundle")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(WRITE_BUNDLE, "write_decoder", fail)
    with pytest.raises(error):
        export(checkpoint, tmp_path / "bundle", force=True)
    assert list(tmp_path.iterdir()) == [tmp_path / "bundle"]
    assert contents(tmp_path / "bundle") == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_sentence(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WRITE_BUNDLE, "WEIGHTS_BIN", "/dev/full")
    with pytest.raises(BundleError, match="disk became full"):
        export(checkpoint, tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_one_sentence(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="could not be written"):
        export(checkpoint, tmp_path / "file" / "bundle")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head_dim": 24, "num_attention_heads": 8}, "heads have 24"),
    ],
)
def test_sizes_that_no_operator_takes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, int], message: str
) -> None:
    def changed(options: Tiny) -> LlamaConfig:
        config = text_config(options)
        config.update(changes)
        return config

    monkeypatch.setattr("tiny.text_config", changed)
    write_llava(tmp_path / "checkpoint")
    with pytest.raises(CheckpointError, match=message):
        export(tmp_path / "checkpoint", tmp_path / "bundle")
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint"}


def test_export_needs_no_torch(checkpoint: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from llava_edge.export.export import Check, "
        "export; export(Path(sys.argv[1]), Path(sys.argv[2]), check=Check(wanted=False)); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    )
    arguments = [sys.executable, "-c", program, str(checkpoint), str(tmp_path / "bundle")]
    assert subprocess.run(arguments, check=False).returncode == 0
