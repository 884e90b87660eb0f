"""The campaign on a machine with a GPU, whose way is gone here at tiny size on the CPU."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from places import SUPPORT

from llava_edge.bench.gpu.beside_trainer import training_findings
from llava_edge.bench.gpu.campaign import IMITATED, Campaign, open_folder
from llava_edge.bench.gpu.campaign_report import CampaignReport, as_table, report
from llava_edge.bench.gpu.ceilings import COPY, PRODUCT
from llava_edge.bench.gpu.decoder_speed import EAGER, RECORDED
from llava_edge.bench.gpu.findings import Finding, PartOutcome, read_outcome
from llava_edge.bench.gpu.goals import goals
from llava_edge.bench.gpu.memory_stages import held
from llava_edge.bench.gpu.models import open_on
from llava_edge.bench.gpu.part_process import find_function
from llava_edge.bench.gpu.parts import PACKAGE, CampaignPart, all_parts, choose, left_for_later
from llava_edge.bench.gpu.random_gguf import write_random_gguf
from llava_edge.bench.gpu.run_parts import ENDING, run_parts
from llava_edge.bench.machine_info import describe_machine
from llava_edge.bench.random_checkpoint import SHAPES
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
from llava_edge.errors import DeviceError, UsageError
from llava_edge.runtime.devices.device import CPU

# Training beside a plain Trainer is test_training.py's; qlora goes the way of the other recipe.
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
    first = tiny(folder, "--parts", wanted, "--seconds", ENDING + 6)
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


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    """Empty; its parts are those of gpu_parts.py."""
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    monkeypatch.setattr("llava_edge.bench.gpu.parts.SHORTEST", 1)
    return Campaign(tmp_path, "tiny", "cpu")


def part(name: str, **changes: object) -> CampaignPart:
    made = CampaignPart(name, f"what becomes of {name}", f"gpu_parts:{name}", seconds=1)
    return replace(made, **changes)  # type: ignore[arg-type]


def go(
    campaign: Campaign, *parts: CampaignPart, seconds: float = 3600, again: bool = False
) -> list[str]:
    told: list[str] = []
    run_parts(campaign, parts, seconds, again=again, tell=told.append)
    return told


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("crash", "ended by SIGSEGV"),
        ("vanish", "ended with status 3"),
        ("refuse", "The GPU is gone; look for it."),
        ("stumble", "KeyError: 'absent'"),
    ],
)
def test_a_part_that_fails_is_a_row_and_the_next_one_runs(
    campaign: Campaign, name: str, why: str
) -> None:
    parts = part(name), part("quick")
    go(campaign, *parts)
    failed = outcome(campaign.folder, name)
    assert failed.state == "failed" and why in failed.left_out[-1].why
    assert [one.name for one in failed.findings] == ["before"]  # is kept
    assert outcome(campaign.folder, "quick").state == "done"
    assert left_for_later(campaign, parts) == []
    table = as_table(report(campaign, parts))
    assert why in table and "nobody asked" in table


def test_what_is_settled_runs_again_only_when_asked(campaign: Campaign) -> None:
    whole = part("whole", call="gpu_parts:needed")
    parts = part("stumble"), part("quick"), whole
    assert len(go(campaign, *parts)) == 6
    assert go(campaign, *parts) == []
    told = go(campaign, *parts, again=True)
    assert [line.partition(":")[0] for line in told[::2]] == ["stumble", "quick"]


def test_a_part_that_hangs_is_ended(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llava_edge.bench.gpu.run_parts.LEAST", 3)
    go(campaign, part("hang"))
    found = outcome(campaign.folder, "hang")
    assert found.state == "failed" and "had not ended after 3 s" in found.left_out[-1].why
    assert gone(campaign)


def test_a_part_that_the_time_cuts_off_is_left_for_the_next_call(campaign: Campaign) -> None:
    parts = part("quick"), part("hang")
    start = time.monotonic()
    go(campaign, *parts, seconds=ENDING + 5)
    assert time.monotonic() - start < ENDING + 5
    found = outcome(campaign.folder, "hang")
    assert found.state == "begun" and [one.name for one in found.findings] == ["before"]
    assert left_for_later(campaign, parts) == [parts[1]] and gone(campaign)
    assert "it was cut off" in as_table(report(campaign, parts))


def test_no_part_is_begun_that_does_not_fit(campaign: Campaign) -> None:
    long, short = part("refuse", seconds=1000), part("quick")
    go(campaign, long, short, seconds=ENDING + 20)
    assert campaign.outcome("refuse") is None
    assert outcome(campaign.folder, "quick").state == "done"
    assert left_for_later(campaign, [long, short]) == [long]


def test_a_part_waits_for_what_it_opens(campaign: Campaign) -> None:
    opens, makes = part("quick", needs=("made",)), part("needed", makes=("made",), seconds=1000)
    assert go(campaign, opens, makes, seconds=ENDING + 20) == []
    assert left_for_later(campaign, [opens, makes]) == [opens, makes]
    assert left_for_later(campaign, [opens]) == []
    assert "the bundle made, which it opens, has not been made" in as_table(
        report(campaign, [opens])
    )
    go(campaign, makes, opens)
    assert outcome(campaign.folder, "quick").state == "done"
    (campaign.models / "made-bundle").rmdir()  # another machine: it is made once more
    assert left_for_later(campaign, [makes]) == [makes]


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="POSIX only")
def test_a_campaign_that_is_killed_takes_its_part_along(campaign: Campaign) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from test_gpu import Campaign, go, part\n"
        "go(Campaign(Path(sys.argv[1]), 'tiny', 'cpu'), part('hang'))\n"
    )
    words = [sys.executable, "-c", code, str(campaign.folder), str(Path(__file__).parent)]
    with subprocess.Popen(words) as process:
        while not (campaign.folder / "pid").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert gone(campaign)
    go(campaign, part("hang", call="gpu_parts:quick"))  # which is run again
    assert outcome(campaign.folder, "hang").state == "done"


def gone(campaign: Campaign) -> bool:
    """Whether the process of `hang` has ended, soon."""
    pid = int((campaign.folder / "pid").read_text())
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        status = Path(f"/proc/{pid}/stat")
        if status.exists() and status.read_text().split()[2] == "Z":  # ended, and nobody has asked
            return True
        time.sleep(0.1)
    return False


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


def test_goals_are_met_or_missed() -> None:
    def of(part: str, *findings: Finding) -> PartOutcome:
        return PartOutcome(part, "done", findings=findings)

    slow_card = of("limits", Finding(COPY, 1000.0, "GB/s"))
    fast_card = of("limits", Finding(COPY, 3000.0, "GB/s"))
    decode = of("decode-7b", Finding(RECORDED, 10.0, "ms", at=600, least=6.5))
    prefill = of(
        "prefill-7b",
        Finding("prefill", 10.0, "ms", at=64, least=1.0),  # too short to be judged
        Finding("prefill", 10.0, "ms", at=1024, least=5.0),
    )
    peers = of(
        "peers-7b",
        Finding("decode: llama.cpp, Q4_0", 9.0, "ms", ratio=Ratio(0.9, 0.8, 1.0)),
        Finding("decode: transformers, float16", 9.0, "ms", ratio=Ratio(0.5, 0.5, 0.5)),
    )
    training = of("training-qlora", Finding("MFU: ours", 41.0, "%"))
    outcomes = {one.part: one for one in (fast_card, decode, prefill, peers, training)}
    assert [goal.met for goal in goals(outcomes)] == [True, True, False, True]
    assert next(goal.met for goal in goals(outcomes | {"limits": slow_card})) is False
    assert goals({}) == []


def test_a_random_gguf_has_the_shapes_matrices(tmp_path: Path) -> None:
    shape = SHAPES["tiny-shared"]
    write_random_gguf(tmp_path / "a.gguf", shape)
    tensors = {one.name: one for one in gguf.GGUFReader(tmp_path / "a.gguf").tensors}
    assert len(tensors) == 3 + 9 * shape.layers
    keys = tensors["blk.1.attn_k.weight"]
    matrix = gguf.dequantize(keys.data, keys.tensor_type)
    assert matrix.shape == (shape.hidden // shape.heads * shape.kv_heads, shape.hidden)
    assert np.isfinite(matrix).all() and 0.01 < matrix.std() < 0.04
    assert len(np.unique(matrix, axis=0)) == len(matrix)


def test_the_roofline_of_a_gpu_is_of_16_bits(tiny_bundle: Path) -> None:
    model = open_on(tiny_bundle, IMITATED, 64)
    roof = roofline(model, 1e9, floats=1e9, whole_numbers=4e9)
    decoder = model.config.decoder
    row = 2 * decoder.num_layers * decoder.num_kv_heads * decoder.head_dim * 2
    assert roof.decode(100) - roof.decode(0) == pytest.approx(100 * row / 1e9)
    assert roof.products == roof.floats


def test_memory_is_held_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    class Driver:
        def __getattr__(self, name: str) -> object:
            def call(*arguments: object) -> int:
                called.append(name)
                return 2 if name == "cuMemAlloc_v2" and arguments[1].value > 10**9 else 0  # type: ignore[attr-defined]

            return call

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver())
    with held(10**9):
        assert "cuMemAlloc_v2" in called and "cuMemFree_v2" not in called
    assert "cuMemFree_v2" in called
    with pytest.raises(DeviceError, match="2 GB of the GPU's memory could not be held"):
        with held(2 * 10**9):
            pass
