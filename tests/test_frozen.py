"""An app that PyInstaller froze answers, in an environment of what such an app installs."""

import re
import shutil
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from own_environment import environment_of
from packaging.requirements import Requirement
from places import ROOT

import llava_edge

pytest.importorskip("PyInstaller", reason="PyInstaller, of the extra dev, is not installed")
OWN = [Requirement(text) for text in requires("llava-edge") or ()]
NEEDED = [requirement.name for requirement in OWN if requirement.marker is None]
LIMIT = 250  # MB, where 169 were measured


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment with the package as its wheel installs it."""
    folder = tmp_path_factory.mktemp("frozen")
    python = environment_of(folder / "own", *NEEDED, "onnxruntime", "llguidance", "pyinstaller")
    (site,) = (folder / "own").glob("[Ll]ib/**/site-packages")
    tree = folder / "tree"  # a copy: building leaves its own folders behind
    for name in ("llava_edge", "bench", "export", "train"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, tree)
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--target", site, tree], check=True)
    return python


@pytest.fixture(scope="module")
def app(python: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the guide's program, frozen by the guide's command, with a bundle beside it."""
    folder = tmp_path_factory.mktemp("app")
    guide = (ROOT / "docs" / "desktop.md").read_text(encoding="utf-8")
    section = guide[guide.index("### A frozen app") :]
    program, commands = re.findall(r"^```\w*\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[:2]
    (folder / "ask.py").write_text(program)
    first = commands.splitlines()[0].split()
    assert first[0] == "pyinstaller"
    subprocess.run(
        [python, "-m", "PyInstaller", "--log-level", "ERROR", *first[1:]], cwd=folder, check=True
    )
    shutil.copytree(tiny_bundle, folder / "dist" / "ask" / "bundle")
    return folder / "dist" / "ask"


def test_it_answers_as_the_package_does(
    app: Path, tiny_bundle: Path, photo_file: Path, tmp_path: Path
) -> None:
    """With an empty home, and with the grammar of a constrained answer."""
    done = subprocess.run(
        [app / "ask", photo_file], env={"HOME": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    model = llava_edge.load(tiny_bundle)
    question = "Is there a dog in the picture?"
    options = llava_edge.Options(choices=("yes", "no"))
    assert done.stdout == model.answer(question, photo_file, options) + "\n"


def test_it_holds_what_it_needs_and_no_more(app: Path) -> None:
    files = [path for path in app.rglob("*") if path.is_file() and not path.is_symlink()]
    bundle = [path for path in files if path.is_relative_to(app / "bundle")]
    size = sum(path.stat().st_size for path in files) - sum(p.stat().st_size for p in bundle)
    print(f"{size / 1e6:.0f} MB")
    assert size < LIMIT * 1e6
    names = {
        path.relative_to(app / "_internal").parts[0] for path in files if "_internal" in path.parts
    }
    assert "onnxruntime" in names
    assert not names & {"torch", "transformers", "onnx", "matplotlib"}
