"""A bundle is compared with its original, and is refused where it is too far from it."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import refusal, run, run_warm
from safetensors.torch import load_file, save_file
from sessions import EXACT
from tiny import Tiny, write_llava
from tiny_training import write_records

from llava_edge.core.bundle import read_bundle
from llava_edge.core.bundle_config import BundleConfig, QuantizationConfig
from llava_edge.data.records import Data
from llava_edge.errors import BundleError, DeviceError, OriginalError, QualityError, UsageError
from llava_edge.export import verify as verification
from llava_edge.export.export import Check, export
from llava_edge.export.progress_bars import show_progress
from llava_edge.export.quality_figures import Outcome, difference, measure_quality
from llava_edge.export.quality_limits import EXACT as EXACT_LIMITS
from llava_edge.export.quality_limits import QUANTIZED, choose_limits, refuse_broken
from llava_edge.export.quantization.precision import Precision
from llava_edge.export.reference import Reference
from llava_edge.export.verify import verify
from llava_edge.runtime.scoring import Scorer, Targets

BUNDLE_CHECK = import_module("llava_edge.export.bundle_check")


def test_an_unquantized_bundle_is_its_original(tiny_checkpoint: Path, tmp_path: Path) -> None:
    config = export(tiny_checkpoint, tmp_path / "b", precision=EXACT, check=Check(True))
    quality = config.quality
    assert quality is not None and not quality.broken and quality.limits == EXACT_LIMITS
    assert quality.pictures == verification.QUESTIONS
    assert quality.image_cosine > 0.99999 and quality.image_max_error < 1e-3
    assert quality.kl_mean < 1e-5 and quality.top1_agreement > 0.99
    assert quality.text_perplexity == pytest.approx(quality.text_perplexity_original, rel=1e-3)
    assert read_bundle(tmp_path / "b") == config


@pytest.mark.parametrize("tiny", [Tiny(tiles=True, image_size=30), Tiny(tower="efficientnet_lite")])
def test_other_kinds(tmp_path: Path, tiny: Tiny) -> None:
    write_llava(tmp_path / "checkpoint", tiny)
    config = export(
        tmp_path / "checkpoint", tmp_path / "bundle", precision=EXACT, check=Check(True)
    )
    assert config.quality is not None and config.quality.kl_mean < 1e-5


def test_what_quantization_costs_is_seen(
    tiny_checkpoint: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    quality = verify(bundle, tiny_checkpoint).quality
    assert quality is not None
    assert 0.001 < quality.kl_mean < quality.kl_p99
    assert quality.text_perplexity != pytest.approx(quality.text_perplexity_original, rel=1e-3)
    assert read_bundle(bundle).quality == quality


def test_records_can_be_compared_on(
    tiny_checkpoint: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    write_records(tmp_path)
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    data = Data((tmp_path / "records.json",), tmp_path / "pictures")
    quality = verify(bundle, tiny_checkpoint, data=data).quality
    assert quality is not None and 0 < quality.pictures < verification.QUESTIONS


def test_an_original_of_other_weights_is_noticed(
    tiny_checkpoint: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    other = Path(shutil.copytree(tiny_checkpoint, tmp_path / "other"))
    tensors = load_file(other / "model.safetensors")
    for name in tensors:
        if "multi_modal_projector" in name or "layers.0" in name:
            tensors[name] = torch.randn_like(tensors[name])
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    config = verify(bundle, other)
    assert config.quality is not None
    assert len(config.quality.broken) >= 3
    with pytest.raises(QualityError, match=r"image_cosine is .*, at least 0\.99 was expected"):
        refuse_broken(config)
    assert "not accepted" in run("inspect", bundle).stdout
    refuse_broken(verify(bundle, other, accept=True))
    assert "accepted although" in run("inspect", bundle).stdout


def test_a_broken_limit_leaves_no_bundle(tiny_checkpoint: Path, tmp_path: Path) -> None:
    strict = Check(True, {"kl_mean": 1e-6})
    with pytest.raises(QualityError, match=r"kl_mean is .*, at most 1e-06 was expected") as error:
        export(tiny_checkpoint, tmp_path / "bundle", check=strict)
    assert error.value.config.quality.kl_mean > 1e-6
    assert not list(tmp_path.iterdir())
    config = export(tiny_checkpoint, tmp_path / "bundle", check=replace(strict, accept=True))
    assert config.quality is not None
    assert config.quality.limits == replace(QUANTIZED, kl_mean=1e-6)
    (broken,) = read_bundle(tmp_path / "bundle").quality.broken  # type: ignore[union-attr]
    assert broken.startswith("kl_mean")


def test_where_it_cannot_be_verified(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = export(tiny_checkpoint, tmp_path / "gpu", devices=("gpu",), check=Check())
    assert config.quality is None
    assert "not verified: it has no graphs" in caplog.text
    with pytest.raises(UsageError, match="leave out --verify"):
        export(tiny_checkpoint, tmp_path / "x", devices=("gpu",), check=Check(True))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)  # as where it is not installed
        export(tiny_checkpoint, tmp_path / "torch", check=Check())
    assert "torch cannot be imported" in caplog.text and "pip install '.[verify]'" in caplog.text
    monkeypatch.setattr(BUNDLE_CHECK, "available_memory", lambda: 1000)
    export(tiny_checkpoint, tmp_path / "memory", check=Check())
    assert "of memory are free" in caplog.text
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def no_memory_in_torch() -> None:
    torch.empty(2**60)


def no_memory_on_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


def no_memory_in_numpy() -> None:
    np.ones(2**55)


def no_memory_in_onnxruntime() -> None:
    raise DeviceError("onnxruntime could not go on (Failed to allocate memory for a buffer).")


@pytest.mark.parametrize(
    "fail",
    [no_memory_in_torch, no_memory_on_a_gpu, no_memory_in_numpy, no_memory_in_onnxruntime],
)
def test_a_lack_of_memory_leaves_the_bundle_unverified(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fail: Callable[[], None],
) -> None:
    monkeypatch.setattr(Reference, "encode", lambda *_: fail())
    config = export(tiny_checkpoint, tmp_path / "bundle", devices=("cpu",), check=Check())
    assert config.quality is None and read_bundle(tmp_path / "bundle") == config
    assert "not verified: there was not enough memory" in caplog.text
    with pytest.raises(UsageError, match=r"not enough memory .* leave out --verify"):
        export(tiny_checkpoint, tmp_path / "wanted", check=Check(True))
    assert list(tmp_path.iterdir()) == [tmp_path / "bundle"]


def test_an_original_that_transformers_refuses_leaves_the_bundle_unverified(
    tiny_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))
    file = checkpoint / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "attn_implementation": "none"}))
    config = export(checkpoint, tmp_path / "bundle", check=Check())
    assert config.quality is None and read_bundle(tmp_path / "bundle") == config
    assert "not verified: transformers cannot open" in caplog.text
    with pytest.raises(OriginalError, match="transformers cannot open"):
        verify(tmp_path / "bundle", checkpoint)


@pytest.mark.parametrize(
    ("side", "error"),
    [
        (Reference, RuntimeError("a fault")),
        (Scorer, KeyError("a fault")),
        (Scorer, BundleError("The bundle is broken.")),
    ],
)
def test_any_other_failure_of_the_comparison_ends_the_export(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    side: type,
    error: Exception,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(side, "encode", fail)
    with pytest.raises(type(error)):
        export(tiny_checkpoint, tmp_path / "bundle", check=Check())
    assert not list(tmp_path.iterdir())


def test_nothing_is_printed_unless_asked_for(
    tiny_checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export(tiny_checkpoint, tmp_path / "bundle", check=Check(True))
    verify(tmp_path / "bundle", tiny_checkpoint)
    export(tiny_checkpoint, tmp_path / "gpu", devices=("gpu",), check=Check())
    assert capfd.readouterr() == ("", "")
    with show_progress():
        export(tiny_checkpoint, tmp_path / "shown", devices=("gpu",), check=Check())
    assert "not verified: it has no graphs" in capfd.readouterr().err


def quantization(method: str, tower: str = "fp16") -> QuantizationConfig:
    bits = 32 if method == "none" else 8
    return QuantizationConfig(method, 4, 32, bits, bits, tower, 9, 4.5)  # type: ignore[arg-type]


def test_limits() -> None:
    assert choose_limits(quantization("none"), {}) == EXACT_LIMITS
    assert choose_limits(quantization("none", "int8"), {}) == QUANTIZED
    assert choose_limits(quantization("kquant"), {}) == QUANTIZED
    chosen = choose_limits(quantization("kquant"), {"top1_agreement": 0.9})
    assert chosen == replace(QUANTIZED, top1_agreement=0.9)
    with pytest.raises(UsageError, match="There is no limit kl; name one of image_cosine, kl_mean"):
        choose_limits(quantization("kquant"), {"kl": 1})


def outcome(logits: np.ndarray, learned: bool) -> Outcome:
    count = len(logits)
    targets = Targets(np.arange(count), np.arange(count) % 3, np.full(count, learned))
    return Outcome(np.eye(4, dtype=np.float32), targets, logits.astype(np.float32))


def test_the_figures_are_what_they_are_called() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 50, 7))
    expected = [outcome(a, True), outcome(b, False)]
    found = [outcome(b, True), outcome(b, False)]
    differences = [difference(*pair) for pair in zip(expected, found, strict=True)]
    quality = measure_quality(differences, QUANTIZED)
    p, q = (torch.tensor(x).log_softmax(-1) for x in (a, b))
    kl = torch.nn.functional.kl_div(q, p, log_target=True, reduction="none").sum(1)
    both = torch.cat([kl, torch.zeros(50)])
    assert quality.kl_mean == pytest.approx(both.mean().item(), rel=1e-4)
    assert quality.kl_p99 == pytest.approx(both.quantile(0.99).item(), rel=1e-3)
    agreement = (p.argmax(1) == q.argmax(1)).double().mean().item()
    assert quality.top1_agreement == pytest.approx((agreement + 1) / 2)
    ids = torch.arange(50) % 3
    for perplexity, logs in (
        (quality.answer_perplexity, q),
        (quality.answer_perplexity_original, p),
        (quality.text_perplexity, q),
    ):
        assert perplexity == pytest.approx(
            torch.nn.functional.nll_loss(logs, ids).exp().item(), rel=1e-4
        )
    assert (quality.image_cosine, quality.image_max_error) == (1.0, 0.0)


def test_the_command_line(tiny_checkpoint: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    done = run_warm("verify", bundle, "--against", tiny_checkpoint)
    assert done.returncode == 0, done.stderr
    assert "next token: KL divergence" in done.stdout
    assert "bits a weight" in run("inspect", bundle).stdout
    done = run_warm(
        "verify", bundle, "--against", tiny_checkpoint, "--json", "--limit", "kl_mean=1e-9"
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["kl_mean"] > 0
    assert "kl_mean is" in done.stderr.splitlines()[-1]
    for wrong in (["--limit", "kl_mean"], ["--images", tmp_path]):
        refusal(run_warm("verify", bundle, "--against", tiny_checkpoint, *wrong), 2)


def test_a_damaged_bundle_is_not_compared(
    tiny_checkpoint: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    content = bytearray((bundle / "weights.bin").read_bytes())
    content[5000] ^= 255
    (bundle / "weights.bin").write_bytes(content)
    with pytest.raises(BundleError, match="was altered"):
        verify(bundle, tiny_checkpoint)


def test_methods_can_be_told_apart(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """The finer the blocks, the nearer the original."""
    found: list[BundleConfig] = [
        export(
            tiny_checkpoint,
            tmp_path / f"{precision.method}{precision.block_size}",
            precision=precision,
            check=Check(True),
        )
        for precision in (Precision(block_size=16), Precision(block_size=128))
    ]
    fine, coarse = (config.quality.kl_mean for config in found if config.quality is not None)
    assert fine < coarse
