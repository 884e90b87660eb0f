"""A Python environment that holds a few of the installed packages and what they need, no more."""

import shutil
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement


def environment_of(folder: Path, *names: str) -> Path:
    """Copy packages by name into a new environment, as pip would install them -> its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("[Ll]ib/**/site-packages")
    for found in needed_by(names).values():
        for file in found.files or ():
            if file.parts[0] != ".." and not file.suffix == ".pyc":
                target = site / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), target)
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def needed_by(names: tuple[str, ...]) -> dict[str, Distribution]:
    """The installed packages of these names, and all that they require without an extra."""
    found: dict[str, Distribution] = {}
    waiting = [*names]
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found:
            continue
        found[name] = distribution(name)
        wanted = map(Requirement, found[name].requires or ())
        waiting += [r.name for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found
