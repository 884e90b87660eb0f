"""Candidates train the same model on the same records, in turns, each in its own process."""

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from command_line import run_warm
from rich.console import Console
from tiny_training import write_recipe

from llava_edge.bench.training.compare_training import TrainingComparison, compare_training
from llava_edge.bench.training.given import TrainingSettings, read
from llava_edge.bench.training.meter import MeteredBlock
from llava_edge.bench.training.training_results import (
    CACHED,
    OURS,
    PLAIN,
    RATES,
    TrainingResults,
    comparisons,
    figures,
)
from llava_edge.bench.training.training_table import training_table

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft with transformers

BLOCK = MeteredBlock(
    steps=2,
    seconds=4.0,
    samples=6,
    labels=40,
    tokens=90,
    positions=120,
    operations=8e9,
    peak_memory=300,
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("training"), lora=True)


@pytest.fixture(scope="module")
def results(recipe: Path) -> TrainingResults:
    return compare_training(
        TrainingComparison(str(recipe), ("seed=3",), None, 100, rounds=2, steps=2)
    )


def test_every_candidate_begins_with_the_same_loss(results: TrainingResults) -> None:
    """On the same records: the same weights, parts and labels, so the comparison is fair."""
    losses = [found.first_loss for found in results.figures.values()]
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-4) and losses[0] > 1


def test_every_candidate_trains_the_same_records(results: TrainingResults) -> None:
    """Six of them, twice over: two rounds of two steps of three."""
    assert set(results.rounds) == {OURS, CACHED, PLAIN}
    for blocks in results.rounds.values():
        assert [block.samples for block in blocks] == [6, 6]
    totals = {
        (sum(b.labels for b in blocks), sum(b.tokens for b in blocks))
        for blocks in results.rounds.values()
    }
    assert len(totals) == 1
    packed, padded = results.rounds[OURS], results.rounds[PLAIN]
    assert all(block.positions == block.tokens for block in packed)
    assert all(block.positions >= block.tokens for block in padded)
    tower = sum(b.operations for b in packed) - sum(b.operations for b in results.rounds[CACHED])
    assert tower > 0
    assert sum(b.operations for b in packed) == sum(b.operations for b in padded)


def test_figures(results: TrainingResults) -> None:
    assert results.stage == "stage2" and results.precision == "float32"
    for found in results.figures.values():
        assert set(found.rates) == set(RATES)
        assert min(summary.minimum for summary in found.rates.values()) > 0
        assert found.peak_memory is None or found.peak_memory > 50 * 2**20
        assert 0 < found.mfu < 1 and found.step_seconds.runs == 2
    assert set(results.ratios) == {OURS, CACHED}
    assert results.feature_seconds is not None and results.feature_seconds > 0
    console = Console(width=120, record=True, file=io.StringIO(), markup=False)
    console.print(training_table(results))
    text = console.export_text()
    assert all(words in text for words in (*results.figures, "padding", "MFU", "GPU:"))


def test_a_rate_is_of_its_block() -> None:
    found = figures([BLOCK], first_loss=2.0, peak_operations=8e9)
    assert {kind: summary.median for kind, summary in found.rates.items()} == {
        "samples": 1.5,
        "tokens": 10,
        "all_tokens": 22.5,
    }
    assert found.step_seconds.median == 2
    assert (found.padding, found.mfu, found.peak_memory) == (0.25, 0.25, 300)


def test_ratios_are_ours_over_the_plain_ones() -> None:
    def blocks(*seconds: float, memory: int | None) -> list[MeteredBlock]:
        return [
            MeteredBlock(**{**vars(BLOCK), "seconds": s, "peak_memory": memory}) for s in seconds
        ]

    rounds = {OURS: blocks(1, 2, 4, memory=200), PLAIN: blocks(2, 2, 2, memory=400)}
    ratio = comparisons(rounds)[OURS]
    assert ratio.peak_memory == 0.5
    tokens = ratio.rates["tokens"]
    assert (tokens.median, tokens.low, tokens.high) == (1, 0.5, 2)
    rounds[OURS] = blocks(1, 2, 4, memory=None)
    assert comparisons(rounds)[OURS].peak_memory is None


def test_candidates_learn_the_same_parts(recipe: Path, tmp_path: Path) -> None:
    def learning(**changes: Any) -> set[str]:
        settings = TrainingSettings("one", True, False, str(recipe), (), "stage2", 6, 2, tmp_path)
        given = read(TrainingSettings(**{**vars(settings), **changes}))
        return {name for name, p in given.model.named_parameters() if p.requires_grad}

    parts = learning()
    assert parts == learning(plain=False, cached=True)
    assert any("lora_A" in name for name in parts) and any("projector" in name for name in parts)
    assert not any("vision_tower" in name for name in parts)


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_warm("bench", "training", *arguments)


def test_the_command(recipe: Path, tmp_path: Path) -> None:
    """Without a cache for features there are two candidates."""
    out = tmp_path / "out.json"
    options = "--set feature_cache=0 --stage stage1 --rounds 1 --steps 1 --records 4"
    result = bench(str(recipe), *options.split(), "--out", str(out))
    assert result.returncode == 0, result.stderr
    line = json.loads(result.stdout.splitlines()[-1])
    assert line == json.loads(out.read_text())
    assert set(line["figures"]) == {OURS, PLAIN} and line["stage"] == "stage1"
    assert not (recipe.parent / "run").exists()


@pytest.mark.parametrize(
    ("options", "said", "code"),
    [
        ("--stage stage3", "stage1 or stage2", 2),
        ("--out nowhere/a.json", "its folder is missing", 2),
        ("--set max_tokens=10", "raise max_tokens", 1),
    ],
)
def test_refusals(recipe: Path, options: str, said: str, code: int) -> None:
    result = bench(str(recipe), *options.split())
    assert result.returncode == code and said in result.stderr and result.stdout == ""
