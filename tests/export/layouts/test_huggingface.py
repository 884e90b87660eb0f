"""Checkpoints that transformers 5 wrote compute what it computed; compat/ has those of 4."""

import warnings
from pathlib import Path

import pytest
import write_huggingface
from expected_outputs import KINDS, assert_computes_as_expected


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("by5")
    with warnings.catch_warnings(action="ignore"):
        write_huggingface.write(folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_5(written: Path, tmp_path: Path, kind: str) -> None:
    assert_computes_as_expected(written / kind, tmp_path / "bundle")
