"""8 bits are kept where 4 were measured to cost most."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import Tiny, write_llava

from llava_edge.core.tokenizer import Tokenizer
from llava_edge.errors import CheckpointError, UsageError
from llava_edge.export import layer_divergence
from llava_edge.export.comparison_samples import text_samples
from llava_edge.export.export import export
from llava_edge.export.layer_divergence import measure
from llava_edge.export.layouts.checkpoint import Checkpoint, open_checkpoint
from llava_edge.export.quantization.precision import Precision, dequantized
from llava_edge.export.reference import Reference
from llava_edge.export.sensitivity import sensitivity
from llava_edge.export.sensitivity_file import (
    FILE,
    Sensitivity,
    choose_eight_bits,
    read_sensitivity,
    write_sensitivity,
)

SPOILED = "layers.1.self_attn.qkv_proj"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with matrices that 4 bits hold badly: huge weights, which are never used."""
    folder = tmp_path_factory.mktemp("sensitivity") / "checkpoint"
    folder.mkdir()
    model = write_llava(folder)
    with torch.no_grad():
        layer = model.model.language_model.layers[1]
        layer.input_layernorm.weight[::32] = 0
        for part in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj):
            part.weight[:, ::32] *= 30
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Checkpoint:
    return open_checkpoint(folder)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("written") / FILE


@pytest.fixture(scope="module")
def measured(folder: Path, written: Path) -> Sensitivity:
    return sensitivity(folder, written)


def test_the_verb_writes_what_it_measured(
    folder: Path, tmp_path: Path, measured: Sensitivity, written: Path
) -> None:
    assert read_sensitivity(written) == measured
    with pytest.raises(UsageError, match="its folder is missing"):
        sensitivity(folder, tmp_path / "nowhere" / FILE)


def test_the_worst_layer_is_found(measured: Sensitivity) -> None:
    assert len(measured.divergence) == 2 * 4
    assert max(measured.divergence, key=measured.divergence.__getitem__) == SPOILED
    assert all(value > 0 for value in measured.divergence.values())
    assert (measured.scheme, measured.block_size) == ("kquant", 32)


@pytest.mark.parametrize("tiny", [Tiny(decoder="qwen2", window=5), Tiny(decoder="smollm3")])
def test_it_is_the_divergence_of_the_whole_model(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers that are run one by one from the middle are the model run as a whole."""
    write_llava(tmp_path, tiny)
    checkpoint = open_checkpoint(tmp_path)
    monkeypatch.setattr(layer_divergence, "RECORDS", 1)
    monkeypatch.setattr(layer_divergence, "conversation_samples", lambda *_: [])
    found = measure(checkpoint, Precision()).divergence["layers.1.mlp.down_proj"]

    reference = Reference(checkpoint)
    samples = text_samples(Tokenizer(checkpoint.tokenizer))[: layer_divergence.TEXTS]
    before = [logs(reference, sample) for sample in samples]
    weight = reference.model.model.language_model.layers[1].mlp.down_proj.weight
    rounded = dequantized(Precision().linear("down", weight.detach().numpy()))
    weight.data = torch.from_numpy(rounded)
    after = [logs(reference, sample) for sample in samples]
    p, q = np.concatenate(before), np.concatenate(after)
    assert found == pytest.approx((np.exp(p) * (p - q)).sum(1).mean(), rel=1e-3)


def logs(reference: Reference, sample: object) -> np.ndarray:
    targets = sample.targets(0)  # type: ignore[attr-defined]
    rows = sample.rows(reference.embed, None)  # type: ignore[attr-defined]
    logits = torch.from_numpy(reference.score(rows, targets.positions.tolist()))
    return logits.log_softmax(-1).numpy()


def test_the_share_is_kept(measured: Sensitivity, checkpoint: Checkpoint) -> None:
    assert choose_eight_bits(measured, checkpoint, 0) == frozenset()
    assert choose_eight_bits(measured, checkpoint, 1) == set(measured.divergence)
    chosen = choose_eight_bits(measured, checkpoint, 0.25)
    assert SPOILED in chosen and len(chosen) < 4


def test_mixed_exports_are_nearer(folder: Path, tmp_path: Path) -> None:
    from llava_edge.export.export import Check

    plain, mixed = (
        export(folder, tmp_path / str(share), mixed_share=share, check=Check(True, accept=True))
        for share in (None, 0.25)
    )
    assert SPOILED in mixed.quantization.eight_bit_layers
    assert mixed.quality is not None and plain.quality is not None
    assert mixed.quality.kl_mean < 0.7 * plain.quality.kl_mean
    assert mixed.quantization.bits_per_weight > plain.quantization.bits_per_weight


def test_a_file_beside_the_checkpoint_is_used(
    folder: Path, tmp_path: Path, measured: Sensitivity, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    turned = {name: 1 / value for name, value in measured.divergence.items()}
    write_sensitivity(copy / FILE, Sensitivity("kquant", 32, 9, turned))
    assert read_sensitivity(copy / FILE).divergence == turned
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "torch", None)  # nothing is measured
        config = export(copy, tmp_path / "bundle", mixed_share=0.3)
    assert config.quantization.eight_bit_layers
    assert SPOILED not in config.quantization.eight_bit_layers
    config = export(copy, tmp_path / "other", precision=Precision(block_size=16), mixed_share=0.3)
    assert SPOILED in config.quantization.eight_bit_layers


def test_a_file_that_does_not_fit(
    tmp_path: Path, checkpoint: Checkpoint, measured: Sensitivity
) -> None:
    part = Sensitivity("kquant", 32, 9, {"layers.0.mlp.down_proj": 1.0})
    with pytest.raises(
        CheckpointError, match="measured on 1 linear layers, but the checkpoint has 8"
    ):
        choose_eight_bits(part, checkpoint, 0.5)
    for content in ("{", json.dumps({"scheme": "kquant"})):
        (tmp_path / FILE).write_text(content)
        with pytest.raises(CheckpointError, match="cannot be read as a sensitivity"):
            read_sensitivity(tmp_path / FILE)


@pytest.mark.parametrize("method", ["none", "nf4"])
def test_mixed_wants_both_widths(folder: Path, tmp_path: Path, method: str) -> None:
    with pytest.raises(UsageError, match="does not have both"):
        export(folder, tmp_path / "bundle", precision=Precision(method), mixed_share=0.5)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
