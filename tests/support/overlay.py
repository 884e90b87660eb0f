"""Older stacks: packages in a folder of their own, before those that the tests run with."""

import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from places import ROOT

OVERLAYS = ROOT / "build" / "compat"


class Overlay:
    """A folder of packages, installed once and kept, and scripts that run with it."""

    def __init__(self, *requirements: str) -> None:
        name = sha256(" ".join((sys.version, *requirements)).encode()).hexdigest()[:12]
        self._folder = OVERLAYS / name
        if not self._folder.exists():
            self._install(requirements)

    def _install(self, requirements: tuple[str, ...]) -> None:
        partial = self._folder.with_suffix(f".{os.getpid()}")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        options = ["--disable-pip-version-check", "--target", str(partial), *requirements]
        try:
            subprocess.run([*command, *options], check=True)
            partial.rename(self._folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def run(self, script: Path, *arguments: object) -> None:
        """Run a script; what it prints is shown where it fails."""
        environment = {**os.environ, "PYTHONPATH": str(self._folder), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-W", "ignore", str(script), *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
