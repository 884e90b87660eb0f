"""Calibrated weights are tuned by auto-round on rows of pictures and text."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import Tiny, write_llava

from llava_edge.core.prompt import Text
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.errors import LlavaEdgeError, UsageError
from llava_edge.export import calibrate
from llava_edge.export.calibrate import calibrated
from llava_edge.export.comparison_samples import draw_picture
from llava_edge.export.export import export
from llava_edge.export.layouts.checkpoint import open_checkpoint
from llava_edge.export.quantization.precision import Precision
from llava_edge.export.reference import Reference
from llava_edge.runtime.scoring import Sample

NAME = "language_model.layers.1.mlp.gate_proj.weight"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "ITERATIONS", 30)
    monkeypatch.setattr(calibrate, "SAMPLES", 8)


@pytest.mark.filterwarnings("ignore")
def test_layers_come_closer_on_what_they_see(tmp_path: Path) -> None:
    """The tuned matrix, fed with what the layer sees, is nearer to the original's output."""
    write_llava(tmp_path, Tiny(decoder="qwen2"))
    checkpoint = open_checkpoint(tmp_path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with calibrated(checkpoint, Precision("calibrated"), None, scratch) as tensors:
        assert tensors.keys() == checkpoint.tensors.keys()
        packed = [name for name, tensor in tensors.items() if tensor.blocks is not None]
        assert len(packed) == 2 * 7 and all("language_model.layers." in name for name in packed)
        blocks = tensors[NAME].blocks
        assert blocks is not None and (blocks().bits, blocks().block_size) == (4, 32)
        tuned = tensors[NAME].read()
    assert not list(scratch.iterdir())
    original = checkpoint.tensors[NAME].read()
    assert 0 < np.abs(tuned - original).max() < np.abs(original).max() / 4


@pytest.mark.filterwarnings("ignore")
def test_a_calibrated_bundle_says_so(tmp_path: Path) -> None:
    write_llava(tmp_path / "checkpoint")
    precision = Precision("calibrated", block_size=16)
    config = export(
        tmp_path / "checkpoint", tmp_path / "bundle", precision=precision, mixed_share=0.3
    )
    quantization = config.quantization
    assert (quantization.method, quantization.bits, quantization.block_size) == (
        "calibrated",
        4,
        16,
    )
    assert quantization.eight_bit_layers


def test_pictures_are_among_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_llava(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    reference = Reference(checkpoint)
    tokenizer = Tokenizer(checkpoint.tokenizer)
    samples = calibrate._samples(reference, checkpoint, tokenizer, None)
    windows = calibrate._windows(reference, samples, 300)
    rows = torch.cat([window["inputs_embeds"][0] for window in windows]).numpy()
    assert {window["inputs_embeds"].shape[1] for window in windows} == {300}
    picture: Any = reference.encode(draw_picture(0))
    start = next(i for i in range(len(rows)) if np.array_equal(rows[i], picture[0]))
    np.testing.assert_array_equal(rows[start : start + 36], picture)


def test_too_few_samples(tmp_path: Path) -> None:
    write_llava(tmp_path)
    reference = Reference(open_checkpoint(tmp_path))
    with pytest.raises(UsageError, match=r"The samples have 3 tokens, .* stretches of 256"):
        calibrate._windows(reference, [Sample((Text((1, 2, 3)),))], 256)


def test_auto_round_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_llava(tmp_path / "checkpoint")
    monkeypatch.setitem(__import__("sys").modules, "auto_round", None)
    monkeypatch.delitem(__import__("sys").modules, "llava_edge.export.calibrate")
    with pytest.raises(LlavaEdgeError, match=r"pip install '\.\[calibrate\]'"):
        export(tmp_path / "checkpoint", tmp_path / "b", precision=Precision("calibrated"))
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint"}
