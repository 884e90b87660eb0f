"""Candidates are asked the same, in turns, each in a process of its own."""

import io
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from runtime_calls import items_of
from sessions import EXACT, Sessions
from tiny import Tiny, text_config, tokenizer, write_llava
from tiny_gguf import write_gguf
from transformers import AutoModelForCausalLM

from llava_edge import load
from llava_edge.bench.defaults import PEERS
from llava_edge.bench.peers import choose_peers as choose
from llava_edge.bench.peers import compare_peers as comparison
from llava_edge.bench.peers.candidate import PeerSettings, open_candidate
from llava_edge.bench.peers.choose_peers import Weights, choose_peers
from llava_edge.bench.peers.compare_peers import (
    PeerComparison,
    compare_peers,
    our_settings,
    rotated,
)
from llava_edge.bench.peers.genai_folder import write_genai_folder
from llava_edge.bench.peers.peer_process import Worker
from llava_edge.bench.peers.peer_results import PeerResults, Sizes, ratios
from llava_edge.bench.peers.peer_worker import question, speed
from llava_edge.bench.peers.peers_table import peers_table
from llava_edge.bench.peers.question import PeerQuestion, make_question
from llava_edge.errors import LlavaEdgeError, UsageError
from llava_edge.export.export import export
from llava_edge.runtime.model import Llava

SIZES = Sizes(prefill=12, context=20, tokens=3)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a float32 bundle and the language model's GGUF file beside it."""
    folder = tmp_path_factory.mktemp("peers")
    tiny = Tiny(text_layers=2)
    model = write_llava(folder / "checkpoint", tiny)
    export(folder / "checkpoint", folder / "bundle", precision=EXACT)
    alone = AutoModelForCausalLM.from_config(text_config(tiny)).eval()
    alone.model.load_state_dict(model.model.language_model.state_dict())
    alone.lm_head.load_state_dict(model.lm_head.state_dict())
    write_gguf(folder / "f32.gguf", alone, tokenizer())
    return folder / "checkpoint"


@pytest.fixture(scope="module")
def exact(checkpoint: Path) -> Llava:
    return load(checkpoint.parent / "bundle")


@pytest.fixture
def asked(exact: Llava, photo_file: Path, tmp_path: Path) -> PeerQuestion:
    return make_question(exact, photo_file, "What is this?", 1, tmp_path)


def test_a_question_is_what_the_bundle_itself_reads(exact: Llava, asked: PeerQuestion) -> None:
    items = items_of(exact, asked.prompt, Path(asked.picture))
    ids = [item for item in items if isinstance(item, int)]
    assert ids == [*asked.before, *asked.after] and len(items) == asked.tokens
    assert PeerQuestion(**json.loads(json.dumps(asked.fields()))).prompt == asked.prompt


def check_alike(bundle: Path, settings: PeerSettings, asked: PeerQuestion) -> None:
    """The runtime finds likeliest what the bundle's graphs do, after ids and after the picture."""
    candidate, graphs = open_candidate(settings), Sessions(bundle)
    table, ids = graphs.embedding_table(), [7, 30, 31, 100, 45]
    candidate.forget()
    found = [candidate.read(ids)]
    while len(found) < 6:
        found.append(candidate.read(found[-1:]))
    assert found == graphs.greedy(table[ids], 6)

    assert candidate.ask(asked) > 0
    text = table[[*asked.after, *asked.answer, *asked.follow_up]]
    rows = np.concatenate([table[list(asked.before)], np.load(asked.rows), text])
    assert [candidate.read(list(asked.follow_up))] == graphs.greedy(rows, 1)
    assert candidate.ask(asked) > 0 and candidate.follow_up(asked) > 0


def test_transformers_answers_alike(exact: Llava, checkpoint: Path, asked: PeerQuestion) -> None:
    ours = our_settings(exact, SIZES)
    other = replace(ours, module="transformers_cpu", checkpoint=str(checkpoint))
    check_alike(exact.path, other, asked)


def test_llama_cpp_answers_alike(exact: Llava, checkpoint: Path, asked: PeerQuestion) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is a long build")
    ours = our_settings(exact, SIZES)
    other = replace(ours, module="llamacpp", gguf=checkpoint.parent / "f32.gguf")
    check_alike(exact.path, other, asked)


def test_genai_answers_alike(tiny_bundle: Path, photo_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime_genai", reason="wanted by this comparison alone")
    model = load(tiny_bundle)
    asked = make_question(model, photo_file, "What is this?", 1, tmp_path)
    ours = our_settings(model, SIZES)
    (tmp_path / "genai").mkdir()
    write_genai_folder(tiny_bundle, tmp_path / "genai", threads=1, context=ours.context)
    check_alike(tiny_bundle, replace(ours, module="genai", genai=tmp_path / "genai"), asked)


class Counting:
    """A candidate that remembers what it was asked."""

    def __init__(self) -> None:
        self.read_ids: list[list[int]] = []

    def forget(self) -> None:
        self.read_ids.append([])

    def read(self, ids: list[int]) -> int:
        self.read_ids[-1] += ids
        return 5

    def ask(self, question: PeerQuestion) -> float:
        return 2.0

    def follow_up(self, question: PeerQuestion) -> float:
        return 1.0


def test_a_worker_measures_what_it_says(asked: PeerQuestion) -> None:
    candidate = Counting()
    found = speed(candidate, ids=[1, 2, 3, 4], prefill=3, tokens=2)
    assert set(found) == {"prefill", "decode"} and candidate.read_ids == [[1, 2, 3, 4, 5, 5], []]
    assert question(candidate, **json.loads(json.dumps(asked.fields()))) == {
        "question": 2.0,
        "follow-up": 1.0,
    }


def test_ratios_are_taken_within_rounds() -> None:
    rounds = {
        "llava-edge": {"question": [1.0, 2.0, 4.0]},
        "other": {"question": [2.0, 2.0, 2.0], "question, without the tower": [1.0, 1.0, 1.0]},
    }
    found = ratios(rounds)
    assert set(found) == {"other"}
    one = found["other"]["question"]
    assert (one.median, one.low, one.high) == (1, 0.5, 2)
    assert found["other"]["question, without the tower"].high == 1


def test_rounds_begin_with_another_candidate_each() -> None:
    names = ["a", "b", "c"]
    assert {rotated(names, number)[0] for number in range(3)} == set(names)
    assert sorted(rotated(names, 7)) == names


def test_a_comparison(exact: Llava, checkpoint: Path, photo_file: Path) -> None:
    ours = our_settings(exact, SIZES)
    peers = [
        replace(ours, name="twin"),
        replace(ours, name="broken", bundle=checkpoint),
    ]
    plan = PeerComparison([photo_file], "What is this?", 2, SIZES)
    results = compare_peers(exact, peers, plan, {"absent": "It is not there."})
    assert set(results.rounds) == {"llava-edge", "twin"} == set(results.peak_memory)
    stages = {"prefill", "decode", "question", "follow-up", "start"}
    for found in results.rounds.values():
        assert set(found) == stages
        assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in found.values())
    assert set(results.left_out) == {"absent", "broken"}
    assert "is not a bundle" in results.left_out["broken"]
    table = table_of(results)
    assert all(words in table for words in (*results.rounds, *results.left_out.values()))
    assert all(math.isfinite(ratio.median) for ratio in results.ratios["twin"].values())


def table_of(results: PeerResults) -> str:
    """Its words, without their places."""
    console = Console(width=200, record=True, file=io.StringIO(), markup=False)
    console.print(peers_table(results))
    return " ".join(console.export_text().split())


def test_a_peer_that_fails_later_is_left_out(
    exact: Llava, photo_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = comparison._round

    def fails(model: Llava, worker: Worker, *arguments: Any) -> Any:
        if worker.settings.name == "twin":
            raise LlavaEdgeError("The twin is ill.")
        return usual(model, worker, *arguments)

    monkeypatch.setattr(comparison, "_round", fails)
    twin = replace(our_settings(exact, SIZES), name="twin")
    results = compare_peers(exact, [twin], PeerComparison([photo_file], "Hi", 1, SIZES), {})
    assert set(results.rounds) == {"llava-edge"} and results.left_out == {
        "twin": "The twin is ill."
    }


def test_peers_that_cannot_be_asked(
    exact: Llava, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = our_settings(exact, SIZES)
    with pytest.raises(UsageError, match='"ollama" is not a peer'):
        choose_peers(["ollama"], Weights(), ours, tmp_path)
    peers, left_out = choose_peers(["llama.cpp", "transformers"], Weights(), ours, tmp_path)
    assert not peers and "--checkpoint" in left_out["transformers"]
    monkeypatch.setattr(choose, "find_spec", lambda name: None)
    _, left_out = choose_peers(PEERS, Weights(), ours, tmp_path)
    assert all("pip install" in reason for reason in left_out.values()) and set(left_out) == set(
        choose.INSTALL
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "--image"),
        ("--image a.png --out nowhere/a.json", "its folder is missing"),
        ("--image a.png", "with 664 tokens"),
    ],
)
def test_refusals(tiny_bundle: Path, options: str, said: str) -> None:
    command = [sys.executable, "-m", "llava_edge", "bench", "peers", str(tiny_bundle)]
    result = subprocess.run([*command, *options.split()], capture_output=True, text=True)
    assert result.returncode == 2 and said in result.stderr and result.stdout == ""
