"""Perplexities are those of the original, and llama.cpp is asked the same."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import refusal
from sessions import EXACT
from tiny import Tiny, text_config, tokenizer, write_llava
from tiny_gguf import write_gguf
from tiny_training import write_records
from transformers import AutoModelForCausalLM

from llava_edge.bench import perplexity
from llava_edge.data.records import Data
from llava_edge.export.export import export
from llava_edge.export.quantization.precision import Precision


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


def test_a_script_ends_on_an_error_in_one_line() -> None:
    command = [sys.executable, "-m", "llava_edge.bench.gpu"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert "name one with --out" in refusal(result, code=2)
