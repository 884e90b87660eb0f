"""transformers 4 and this package read each other's checkpoints, and compute the same."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from expected_outputs import KINDS, assert_computes_as_expected
from overlay import Overlay
from places import SUPPORT
from saved_checkpoints import NAMES, Saved, logits, write_checkpoints

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft's making
WRITE = SUPPORT / "write_huggingface.py"
LOAD = Path(__file__).parent / "load_with_transformers.py"


@pytest.fixture(scope="module")
def written(transformers_4: Overlay, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By transformers 4."""
    folder = tmp_path_factory.mktemp("by4")
    transformers_4.run(WRITE, folder, "--pickled")
    return folder


@pytest.mark.parametrize("kind", [*KINDS, "pickled"])
def test_what_it_wrote(written: Path, tmp_path: Path, kind: str) -> None:
    assert_computes_as_expected(written / kind, tmp_path / "bundle")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Saved]:
    """By training."""
    return write_checkpoints(tmp_path_factory.mktemp("saved"))


@pytest.fixture(scope="module")
def read(saved: dict[str, Saved], transformers_4: Overlay) -> dict[str, dict[str, Any]]:
    """What transformers 4 makes of these checkpoints."""
    for case in saved.values():
        arrays = {name: tensor.numpy() for name, tensor in case.batch.items()}
        np.savez(case.folder / "inputs.npz", **arrays)
    transformers_4.run(LOAD, *(case.folder for case in saved.values()))
    return {name: json.loads((c.folder / "out.json").read_text()) for name, c in saved.items()}


@pytest.mark.parametrize("name", NAMES)
def test_it_finds_every_tensor_that_training_wrote(
    name: str, saved: dict[str, Saved], read: dict[str, dict[str, Any]]
) -> None:
    case, found = saved[name], read[name]
    assert found["version"].startswith("4.57")
    assert not any(found["report"].values()), found["report"]
    ours = logits(case.learner.model, case.batch)
    torch.testing.assert_close(torch.tensor(found["logits"]), ours, atol=1e-4, rtol=1e-4)
