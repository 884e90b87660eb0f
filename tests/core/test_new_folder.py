"""A run that was killed leaves no bundle, and the next one starts clean."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llava_edge.core.new_folder import check_target, new_folder
from llava_edge.errors import BundleError
from llava_edge.export.export import export
from llava_edge.export.graphs.weights_bin import WeightsBin

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from llava_edge.export.export import Check, export

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

sys.modules["llava_edge.export.write_bundle"].write_decoder = die
export(Path(sys.argv[1]), Path(sys.argv[2]), check=Check(False), force=True)
"""
KILLED_WHILE_REPLACING = """
import os, signal, sys
from pathlib import Path
from llava_edge.core.new_folder import new_folder

rename = Path.rename

def die(path, target):
    if path.suffix == ".tmp":
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, target)

Path.rename = die
with new_folder(Path(sys.argv[1])) as folder:
    (folder / "new").write_text("new")
"""

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")


def run(program: str, *arguments: Path) -> None:
    done = subprocess.run([sys.executable, "-c", program, *map(str, arguments)])
    assert done.returncode == -signal.SIGKILL


@posix
def test_killed_while_writing(tiny_checkpoint: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    run(KILLED_WHILE_WRITING, tiny_checkpoint, bundle)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".bundle.") and not (left / "bundle.json").exists()
    export(tiny_checkpoint, bundle)
    assert list(tmp_path.iterdir()) == [bundle]


@posix
def test_killed_while_replacing(tiny_checkpoint: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    export(tiny_checkpoint, bundle)
    before = (bundle / "bundle.json").read_bytes()
    run(KILLED_WHILE_REPLACING, bundle)
    assert not bundle.exists()
    with pytest.raises(BundleError, match="exists already"):  # the old one is back
        check_target(bundle, force=False)
    assert (bundle / "bundle.json").read_bytes() == before
    assert list(tmp_path.iterdir()) == [bundle]


@posix
def test_what_another_run_is_writing_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        busy = tmp_path / f".bundle.{other.pid}.tmp"
        busy.mkdir()
        for name in (f".bundle.{os.getpid()}x.tmp", ".bundle.mine", ".other.1.tmp"):
            (tmp_path / name).mkdir()
        before = sorted(tmp_path.iterdir())
        check_target(tmp_path / "bundle", force=False)
        assert sorted(tmp_path.iterdir()) == before
        other.communicate()
    check_target(tmp_path / "bundle", force=False)
    assert not busy.exists()


def test_remains_of_a_process_of_the_same_number_are_removed(tmp_path: Path) -> None:
    """In a container every run may have the same number."""
    (tmp_path / f".bundle.{os.getpid()}.tmp").mkdir()
    check_target(tmp_path / "bundle", force=False)
    assert not list(tmp_path.iterdir())


def test_no_memory_is_one_sentence(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(WeightsBin, "append", too_much)
    with pytest.raises(BundleError, match="not enough memory"):
        export(tiny_checkpoint, tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_a_failure_removes_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "bundle") as folder:
        (folder / "part").write_text("part")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
