"""What a type checker says of a program that uses the package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT, SUPPORT


def test_the_documented_calls_pass_the_strict_checker(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """The package lies where installed ones do, so that its types count by its py.typed alone."""
    installed = tmp_path / "site"
    shutil.copytree(ROOT / "llava_edge", installed / "llava_edge")
    cache = pytestconfig.cache.mkdir("mypy")  # type: ignore[union-attr]
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={cache}"]
    checked = subprocess.run(
        [*command, SUPPORT / "user_program.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert checked.stdout.startswith("Success"), checked.stdout + checked.stderr
