"""The wheel holds the package, all of it and nothing else."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("llava_edge", "bench", "export", "train")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("tree")  # a copy: building leaves its own folders behind
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, tree)
    for name in (*FOLDERS, "examples"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist", "."]
    built = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = (tree / "dist").glob("*.whl")
    return path


def test_one_name_and_every_module(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = set()
    for folder in FOLDERS:
        top = ROOT / folder if folder == "llava_edge" else ROOT
        paths = (path.relative_to(top) for path in (ROOT / folder).rglob("*.py"))
        expected |= {f"llava_edge/{path.as_posix()}" for path in paths}
    data = {"llava_edge/py.typed", "llava_edge/export/sample_text.txt"}
    data |= {f"llava_edge/train/recipes/{path.name}" for path in (ROOT / "train/recipes").iterdir()}
    page = (ROOT / "llava_edge" / "serve" / "page").iterdir()
    data |= {f"llava_edge/serve/page/{path.name}" for path in page}
    assert names == expected | data


def test_the_weights_are_not_in_it(wheel: Path) -> None:
    assert wheel.stat().st_size < 2 * 2**20


def test_every_folder_of_modules_is_listed() -> None:
    listed = (ROOT / "pyproject.toml").read_text()
    for init in (init for folder in FOLDERS for init in (ROOT / folder).rglob("__init__.py")):
        parts = init.parent.relative_to(ROOT).parts
        name = ".".join(parts if parts[0] == "llava_edge" else ("llava_edge", *parts))
        assert f'"{name}",' in listed
