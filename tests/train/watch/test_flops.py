"""What a step is said to cost is what torch counts while it runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_training import dataset, write_recipe
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from llava_edge.train.engine.run_stage import prepare_stage
from llava_edge.train.inputs.dataset import pad
from llava_edge.train.inputs.labels import IGNORE_INDEX
from llava_edge.train.models.learner import build
from llava_edge.train.recipe import Lora, Stage, load_recipe
from llava_edge.train.watch.flops import known_peak, peak_operations, training_cost

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

LORA = Lora(rank=5, alpha=8)
STAGES = {
    "the projector alone": {"projector_lr": 1.0},
    "projector and language model": {"projector_lr": 1.0, "language_model_lr": 1.0},
    "projector and adapters": {"projector_lr": 1.0, "language_model_lr": 1.0, "lora": LORA},
    "adapters alone": {"projector_lr": 0.0, "language_model_lr": 1.0, "lora": LORA},
}


@pytest.fixture(scope="module", params=["clip", "efficientnet"])
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp(request.param), tower=request.param)


@pytest.mark.parametrize("name", STAGES)
def test_the_cost_is_what_torch_counts(recipe: Path, name: str) -> None:
    learner = build(load_recipe(recipe))
    data = load_recipe(recipe).stages["stage1"].data
    model = prepare_stage(learner, Stage(data, packing=False, **STAGES[name]))
    records = dataset(recipe.parent, learner.encoding)
    batch = pad([records[0], records[2]])  # of one length: padding is computed, but no use
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(**batch)["loss"].backward()
    lengths = batch["attention_mask"].sum(1).tolist()
    labels = int((batch["labels"][:, 1:] != IGNORE_INDEX).sum())
    cost = training_cost(learner.model, learner.encoding.image.size)
    expected = cost.operations(lengths, labels, images=2)
    share = 0.05 if name == "adapters alone" else 0.01  # the first of two layers needs less
    assert expected == pytest.approx(counter.get_total_flops(), rel=share)
    cached = training_cost(learner.model, learner.encoding.image.size, cached=True)
    assert cached.image < cost.image and cached.token == cost.token


def test_peaks_are_those_of_the_very_card() -> None:
    assert known_peak("NVIDIA A100-SXM4-80GB") == 312e12
    assert known_peak("NVIDIA H100 80GB HBM3") == 989e12
    assert known_peak("NVIDIA GeForce RTX 4090") == 165.2e12
    for unlike in ("NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA A10G", "Tesla V100-SXM2-16GB"):
        assert known_peak(unlike) is None


def test_an_unknown_device_is_measured() -> None:
    assert 1e8 < peak_operations(torch.device("cpu"), torch.float32) < 1e14


def test_without_bf16_instructions_the_peak_is_still_what_fp32_reaches() -> None:
    """Products in bf16 are imitated there, and were hundreds of times slower than layers are."""
    code = (
        "import torch; from llava_edge.train.watch.flops import peak_operations as peak;"
        "cpu = torch.device('cpu'); print(peak(cpu, torch.bfloat16) / peak(cpu, torch.float32))"
    )
    avx2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, env={**os.environ, **avx2}, capture_output=True, check=True)
    assert float(found.stdout) >= 1
