"""The campaign on a machine with a GPU, whose way is gone here at tiny size on the CPU."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from llava_edge.bench.gpu.beside_trainer import training_findings
from llava_edge.bench.gpu.campaign import IMITATED, Campaign, open_folder
from llava_edge.bench.gpu.campaign_report import CampaignReport, as_table
from llava_edge.bench.gpu.decoder_speed import EAGER, RECORDED
from llava_edge.bench.gpu.device_limits import COPY, PRODUCT
from llava_edge.bench.gpu.findings import PartOutcome, read_outcome
from llava_edge.bench.gpu.models import open_on
from llava_edge.bench.gpu.part_process import find_function
from llava_edge.bench.gpu.parts import PACKAGE, all_parts, choose
from llava_edge.bench.gpu.run_parts import ENDING
from llava_edge.bench.machine_info import describe_machine
from llava_edge.bench.roofline import roofline
from llava_edge.bench.summary import Ratio
from llava_edge.bench.training.meter import MeteredBlock
from llava_edge.bench.training.training_results import (
    OURS,
    PLAIN,
    TrainingResults,
    comparisons,
    figures,
)
from llava_edge.core.strict import parse
from llava_edge.errors import UsageError
from llava_edge.runtime.devices.device import CPU

# Beside a plain Trainer is test_compare_training.py's; qlora goes the way of the other recipe.
ELSEWHERE = ("training-v1.5-lora", "training-qlora", "kernels-qlora")


def command(*options: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", PACKAGE, *map(str, options)]
    return subprocess.run(words, capture_output=True, text=True)


def tiny(folder: Path, *options: object) -> subprocess.CompletedProcess[str]:
    return command("--out", folder, "--size", "tiny", "--device", "cpu", *options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a campaign that was stopped once by its time, and went on to its end."""
    folder = tmp_path_factory.mktemp("campaign") / "out"
    wanted = ",".join(part.name for part in all_parts() if part.name not in ELSEWHERE)
    # The second is thought to take 15 seconds, which are not there however fast the first one is.
    first = tiny(folder, "--parts", "limits,training-demo", "--seconds", ENDING + 14)
    assert first.returncode == 0, first.stderr
    assert "parts are left" in first.stdout and "run the same command again" in first.stdout
    (done,) = (folder / "parts").iterdir()  # there was time for one
    before = done.stat().st_mtime_ns
    second = tiny(folder, "--parts", wanted)
    assert second.returncode == 0, second.stderr
    assert done.stat().st_mtime_ns == before and f"\n{done.stem}: " not in f"\n{second.stdout}"
    assert "All parts have run" in second.stdout
    return folder


def outcome(folder: Path, part: str) -> PartOutcome:
    found = read_outcome(folder / "parts" / f"{part}.json")
    assert found is not None
    return found


def test_every_part_names_a_function() -> None:
    for one in all_parts():
        assert callable(find_function(one.call))


def test_every_part_ends_and_finds_something(folder: Path) -> None:
    reasons = {"there is no GPU", "llama_cpp cannot be imported"}
    for part in all_parts():
        if part.name in (*ELSEWHERE, "parity-given"):
            continue
        found = outcome(folder, part.name)
        assert found.state == "done", found.left_out
        if part.name != "training-demo":
            assert found.findings or found.left_out
            assert {one.why for one in found.left_out} <= reasons
        for one in found.findings:
            assert one.words or one.value is not None
            assert one.unit != "ms" or (one.value is not None and one.value > 0)
        printed = (folder / "logs" / f"{part.name}.txt").read_text()
        assert "Fatal Python error" not in printed and "Traceback" not in printed


def test_limits_are_by_two_libraries(folder: Path) -> None:
    found = outcome(folder, "limits")
    for name in (COPY, PRODUCT):
        assert {one.words for one in found.findings if one.name == name} == {"onnxruntime", "torch"}
        largest = found.value(name)
        assert largest is not None and largest > 0


def test_graphs_for_gpus_compute_what_those_for_cpus_do(folder: Path) -> None:
    for shape in ("tiny", "tiny-shared"):
        for one in outcome(folder, f"parity-{shape}").findings:
            assert one.value is not None
            if one.unit == "%":
                assert one.value == 100
            elif "none" in one.name:
                assert one.value < 2e-3
            else:
                assert one.value < 0.05
    cosine = outcome(folder, "parity-original").findings[-1].value
    assert cosine is not None and cosine > 0.999


def test_kernels_are_named_by_the_rules_and_by_what_ran(folder: Path) -> None:
    words = [one.words for one in outcome(folder, "kernels-7b").findings]
    assert {"fpA_intB", "XQA"} <= set(words)
    assert "MatMulNBits (CPUExecutionProvider)" in words


def test_decoding_is_measured_with_and_without_a_graph(folder: Path) -> None:
    found = outcome(folder, "decode-7b").findings
    for name in (RECORDED, EAGER):
        assert [one.at for one in found if one.name == name] == [8, 20, 40]
    shares = [one.share for one in found if one.name == RECORDED]
    assert all(share is not None and share > 0 for share in shares)


def test_a_comparison_of_training_becomes_findings() -> None:
    block = MeteredBlock(
        steps=2,
        seconds=4.0,
        samples=6,
        labels=40,
        tokens=90,
        positions=120,
        operations=8e9,
        peak_memory=3 * 10**9,
    )
    rounds = {OURS: (block, block), PLAIN: (replace(block, seconds=8.0),) * 2}
    results = TrainingResults(
        command="",
        date="",
        machine=describe_machine(CPU),
        versions={},
        recipe="any",
        stage="stage2",
        batch_size=3,
        precision="float32",
        steps=2,
        peak_operations=4e9,
        feature_seconds=None,
        figures={name: figures(blocks, 2.0, 4e9) for name, blocks in rounds.items()},
        ratios=comparisons(rounds),
        rounds=rounds,
    )
    found = {one.name: one for one in training_findings(results)}
    tokens = found["tokens that count: ours"]
    assert tokens.value == 10 and tokens.ratio == Ratio(2, 2, 2)
    assert found["tokens that count: plain Trainer"].ratio is None
    assert found["MFU: ours"].value == 50 and found["MFU: plain Trainer"].value == 25
    assert found["peak memory: ours"].value == 3 and found["padding: ours"].value == 25


def test_one_file_for_programs_and_one_table(folder: Path) -> None:
    found = parse(CampaignReport, json.loads((folder / "gpu.json").read_text()))
    assert set(found.parts) == {path.stem for path in (folder / "parts").iterdir()}
    assert found.goals == ()  # which are of the full size on a GPU
    table = (folder / "table.md").read_text()
    assert as_table(found) == table
    reasons = {one.what: one.why for one in found.left_out}
    assert reasons["memory-8gb: a GPU of 8 GB"] == "there is no GPU"
    (given,) = (why for what, why in reasons.items() if what.startswith("parity-given"))
    assert "--bundle" in given
    assert all(what in table and why in table for what, why in reasons.items())
    for name in ("decode", "prefill"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_of_another_campaign_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="holds a campaign of size tiny on cpu"):
        open_folder(Campaign(folder))


def test_without_a_gpu_a_sentence_says_so(tmp_path: Path) -> None:
    result = command("--out", tmp_path / "out")
    assert result.returncode == 1 and result.stdout == ""
    assert "There is no GPU to measure" in result.stderr and len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "--out"),
        ("--out x --device cpu", "--size tiny"),
        ("--out x --parts limits,dance", '"dance" is not a part'),
    ],
)
def test_refusals(options: str, said: str) -> None:
    result = command(*options.split())
    assert result.returncode == 2 and said in result.stderr


def test_parts_are_listed_with_what_they_ask() -> None:
    result = command("--list")
    assert result.returncode == 0
    assert all(p.name in result.stdout and p.asks in result.stdout for p in all_parts())
    assert [p.name for p in choose("decode-7b, limits")] == ["limits", "decode-7b"]
    assert sum(p.seconds > 540 - ENDING for p in all_parts()) == 0  # each fits in one call


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UsageError, match=r"a\.json is damaged"):
        read_outcome(tmp_path / "a.json")


def test_the_roofline_of_a_gpu_is_of_16_bits(tiny_bundle: Path) -> None:
    model = open_on(tiny_bundle, IMITATED, 64)
    roof = roofline(model, 1e9, floats=1e9, whole_numbers=4e9)
    decoder = model.config.decoder
    row = 2 * decoder.num_layers * decoder.num_kv_heads * decoder.head_dim * 2
    assert roof.decode(100) - roof.decode(0) == pytest.approx(100 * row / 1e9)
    assert roof.products == roof.floats
