"""The benchmarks measure what they say, on tiny models."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sessions import EXACT
from tiny import Tiny, text_config, tokenizer, write_demo, write_llava
from tiny_gguf import write_gguf
from tiny_training import write_records
from transformers import AutoModelForCausalLM, AutoTokenizer

from llava_edge.bench import perplexity
from llava_edge.bench.export_cost import measure
from llava_edge.bench.extract_language_model import write_language_model
from llava_edge.data.records import Data
from llava_edge.errors import UsageError
from llava_edge.export.export import export
from llava_edge.export.quantization.precision import Precision


def test_export_cost(tiny_checkpoint: Path) -> None:
    before = set(tiny_checkpoint.parent.iterdir())
    cost = measure(tiny_checkpoint, ["--quantize", "rtn", "--devices", "cpu"])
    assert set(tiny_checkpoint.parent.iterdir()) == before
    assert cost.seconds > 0 and cost.bundle_size > 100_000
    assert 4 < cost.bits_per_weight < 8
    assert cost.peak_memory is None or cost.peak_memory > 10 * 2**20
    with pytest.raises(subprocess.CalledProcessError):
        measure(tiny_checkpoint, ["--block-size", "33"])


def test_a_language_model_alone(tmp_path: Path) -> None:
    model = write_demo(tmp_path / "demo", tmp_path / "base.gguf", Tiny(tied=True))
    out = tmp_path / "alone"
    write_language_model(str(tmp_path / "demo"), out, str(tmp_path / "base.gguf"))
    alone = AutoModelForCausalLM.from_pretrained(out)
    ids = torch.tensor([[7, 30, 31, 100]])
    with torch.no_grad():
        np.testing.assert_allclose(
            alone(ids).logits, model(input_ids=ids).logits, rtol=1e-4, atol=1e-5
        )
    text = "There are 12 red apples."
    written = AutoTokenizer.from_pretrained(out)
    assert written(text).input_ids == tokenizer().encode(text).ids
    with pytest.raises(UsageError, match="already exists"):
        write_language_model(str(tmp_path / "demo"), out, str(tmp_path / "base.gguf"))


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perplexity, "WINDOWS", 2)
    monkeypatch.setattr(perplexity, "WINDOW", 40)


def test_perplexities(tmp_path: Path) -> None:
    model = write_llava(tmp_path / "checkpoint")
    write_records(tmp_path)
    for name, precision in (("exact", EXACT), ("coarse", Precision(block_size=128))):
        export(tmp_path / "checkpoint", tmp_path / name, precision=precision)
    data = Data((tmp_path / "records.json",), tmp_path / "pictures", 4)
    exact, coarse = perplexity.compare([tmp_path / "exact", tmp_path / "coarse"], data, None, [])
    assert (exact.text_increase, exact.answers_increase) == (0, None)
    assert coarse.text_increase == pytest.approx(coarse.text / exact.text - 1)
    assert coarse.answers is not None and coarse.megabytes < exact.megabytes / 4
    weights = model.model.language_model.num_parameters() + model.lm_head.weight.numel()
    assert exact.megabytes == pytest.approx(4e-6 * weights, rel=0.01)

    questions = perplexity._questions(tmp_path / "exact", None)
    with torch.no_grad():
        losses = [model_loss(model, list(sample.segments[0].ids)) for sample in questions.texts]  # type: ignore[union-attr]
    assert exact.text == pytest.approx(math.exp(float(np.mean(losses))), rel=1e-3)


def model_loss(model: torch.nn.Module, ids: list[int]) -> float:
    tokens = torch.tensor([ids])
    return float(model(input_ids=tokens, labels=tokens).loss)


def test_llama_cpp_is_fed_with_pictures_too(tmp_path: Path) -> None:
    pytest.importorskip(
        "llama_cpp", reason="llama-cpp-python is a long build, wanted by nobody else"
    )
    tiny = Tiny(text_layers=2)
    model = write_llava(tmp_path / "checkpoint", tiny)
    alone = AutoModelForCausalLM.from_config(text_config(tiny)).eval()
    alone.model.load_state_dict(model.model.language_model.state_dict())
    alone.lm_head.load_state_dict(model.lm_head.state_dict())
    write_gguf(tmp_path / "f32.gguf", alone, tokenizer())
    write_records(tmp_path)
    export(tmp_path / "checkpoint", tmp_path / "exact", precision=EXACT)
    data = Data((tmp_path / "records.json",), tmp_path / "pictures", 4)
    ours, theirs = perplexity.compare([tmp_path / "exact"], data, tmp_path / "f32.gguf", ["Q8_0"])
    assert theirs.text == pytest.approx(ours.text, rel=0.02)
    assert theirs.answers == pytest.approx(ours.answers, rel=0.02)


def test_the_last_line_is_for_programs(tiny_bundle: Path) -> None:
    command = [sys.executable, "-m", "llava_edge.bench.perplexity", str(tiny_bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (found,) = json.loads(done.stdout.splitlines()[-1])
    assert found["name"] == tiny_bundle.name and found["text"] > 1
