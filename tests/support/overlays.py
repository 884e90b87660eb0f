"""Throw-away environments: other versions of a library before those that the tests run with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import SUPPORT


class Overlay:
    """A folder of packages, and scripts of tests/ that run with it."""

    def __init__(self, folder: Path, *requirements: str) -> None:
        self._folder = folder
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        options = ["--disable-pip-version-check", "--target", str(folder), *requirements]
        subprocess.run([*command, *options], check=True)

    def run(self, script: str, *arguments: object) -> None:
        """Run a script; what it prints is shown where it fails."""
        environment = {**os.environ, "PYTHONPATH": str(self._folder), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-W", "ignore", str(SUPPORT / script), *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def transformers_4(tmp_path_factory: pytest.TempPathFactory) -> Overlay:
    """The last releases of transformers 4."""
    return Overlay(
        tmp_path_factory.mktemp("transformers4"),
        "transformers==4.57.6",
        "tokenizers==0.22.1",
        "huggingface-hub==0.36.0",
    )


@pytest.fixture(scope="session")
def original_llava(tmp_path_factory: pytest.TempPathFactory) -> Overlay:
    """The original LLaVA's own package, and what it was written for."""
    return Overlay(
        tmp_path_factory.mktemp("llava"),
        "llava-torch==1.2.2.post1",
        "transformers==4.37.2",
        "tokenizers==0.15.2",
        "huggingface-hub==0.36.0",
        "peft==0.10.0",
        "datasets==3.6.0",
    )


@pytest.fixture(scope="session")
def packers(tmp_path_factory: pytest.TempPathFactory) -> Overlay:
    """The packages whose formats GPTQ and AWQ checkpoints have; both are no longer developed."""
    return Overlay(
        tmp_path_factory.mktemp("packers"),
        "auto-gptq==0.7.1",
        "autoawq==0.2.9",
        "transformers==4.57.6",
        "tokenizers==0.22.1",
        "huggingface-hub==0.36.0",
    )
