"""The stages of an answer, measured apart on pictures that the encoder has not seen."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from llava_edge.bench import answer_stages
from llava_edge.bench.call_runtime import TokenReader, pixels, unseen
from llava_edge.bench.compare_latency import compare, warning
from llava_edge.bench.latency import Latency, as_json, read_latency
from llava_edge.bench.latency import latency as measure
from llava_edge.bench.latency_plot import plot_latency
from llava_edge.bench.summary import ratio_by_rounds, ratio_of_summaries, summarize
from llava_edge.errors import LlavaEdgeError, UsageError
from llava_edge.runtime.model import Llava


@pytest.fixture(scope="module")
def latency(tiny_bundle: Path, photo_file: Path) -> Latency:
    return measure(tiny_bundle, [photo_file], "What is this?", tokens=4, runs=2, contexts=[20, 50])


def test_stages_stand_apart(latency: Latency) -> None:
    by_kind = {stage.kind: stage for stage in latency.stages}
    assert set(by_kind) == {"load", "picture", "encode", "prefill", "ttft", "decode"}
    assert all(stage.seconds.median > 0 for stage in latency.stages if stage.kind != "encode")
    assert all(s.seconds.runs == (8 if s.kind == "decode" else 2) for s in latency.stages)
    assert [s.amount for s in latency.stages if s.kind == "decode"] == [20, 50]
    first = next(stage for stage in latency.stages if stage.kind == "prefill")
    assert first.amount > 36  # image tokens and words
    assert latency.peak_memory is None or latency.peak_memory > 10**7
    assert latency.gpu_memory is None and latency.machine.provider == "CPUExecutionProvider"


def test_what_the_machine_allows_stands_beside(latency: Latency) -> None:
    bounded = {stage.kind for stage in latency.stages if stage.least is not None}
    assert bounded == {"encode", "prefill", "decode"}
    short, long = (stage.least for stage in latency.stages if stage.kind == "decode")
    assert short is not None and long is not None and 0 < short < long


def test_every_picture_is_encoded(model: Llava, photo_file: Path) -> None:
    files = [unseen(photo_file, number) for number in (0, 1, 255, 256, 257)]
    assert len(set(files)) == 5
    first, second = (pixels(model, file) for file in files[:2])
    assert first.shape == (1, 3, 33, 33) and (first != second).any()
    plan = answer_stages.AnswerPlan([photo_file], "What is this?", 2, [])
    before = len(model.vision.known)
    list(answer_stages.run_through(model, plan, 0))
    assert len(model.vision.known) == before + 4


def test_a_reader_reads_as_an_answer_does(model: Llava) -> None:
    reader, ids = TokenReader(model), [7, 30, 31, 100]
    reader.forget()
    whole = reader.read(ids)
    reader.forget()
    reader.read(ids[:2])
    assert reader.read(ids[2:]) == whole


def test_contexts_must_fit(tiny_bundle: Path, photo_file: Path) -> None:
    with pytest.raises(UsageError, match="--contexts holds 300"):
        measure(tiny_bundle, [photo_file], "Hi", tokens=4, runs=1, contexts=[300])
    with pytest.raises(UsageError, match="--image"):
        measure(tiny_bundle, [], "Hi", tokens=4, runs=1)


def test_a_file_and_back(latency: Latency, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(as_json(latency))
    assert read_latency(path) == latency
    path.write_text("{}")
    with pytest.raises(UsageError, match="is not a latency file"):
        read_latency(path)


def test_files_are_compared_stage_by_stage(latency: Latency) -> None:
    halved = [
        replace(stage, seconds=summarize([stage.seconds.median / 2] * 3))
        for stage in latency.stages[1:]
    ]
    changes = list(compare(latency, replace(latency, stages=tuple(halved))))
    assert [change.name for change in changes] == [stage.name for stage in halved]
    assert all(change.ratio.median == pytest.approx(0.5) for change in changes)
    assert warning(latency, latency) is None
    other = replace(latency, machine=replace(latency.machine, cpu="another"))
    assert "different machines (cpu" in str(warning(latency, other))


def test_a_plot(latency: Latency, tmp_path: Path) -> None:
    plot_latency(latency, tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(LlavaEdgeError, match="cannot be drawn"):
        plot_latency(latency, tmp_path / "out.words")


def test_summaries() -> None:
    summary = summarize([3.0, 1.0, 2.0, 4.0, 5.0])
    assert (summary.median, summary.minimum, summary.runs) == (3, 1, 5)
    assert summary.quartiles == (2, 4) and 4 < summary.p95 < 5
    ratio = ratio_of_summaries(summary, summary)
    assert (ratio.median, ratio.low, ratio.high) == (1, 0.5, 2)
    rounds = ratio_by_rounds([1, 2, 4], [2, 2, 2])
    assert (rounds.median, rounds.low, rounds.high) == (1, 0.5, 2)


def test_the_last_line_is_json(tiny_bundle: Path, photo_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    options = ["--image", photo_file, "--runs", 1, "--tokens", 2, "--contexts", 9]
    command = [sys.executable, "-m", "llava_edge", "bench", "latency"]
    result = run(*command, tiny_bundle, *options, "--json-out", out)
    assert json.loads(result.splitlines()[-1]) == json.loads(out.read_text())
    compared = run(*command, "--compare", out, out)
    assert {change["ratio"]["median"] for change in json.loads(compared.splitlines()[-1])} <= {1}


def run(*command: object) -> str:
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--contexts 1,x", "numbers with commas"),
        ("--json-out nowhere/a.json --image a.png", "its folder is missing"),
        ("--compare a.json b.json", "is not a latency file"),
    ],
)
def test_refusals(tiny_bundle: Path, options: str, said: str) -> None:
    command = [sys.executable, "-m", "llava_edge", "bench", "latency", *options.split()]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2 and said in result.stderr and result.stdout == ""
