"""An app that was frozen without a console has neither standard output nor errors."""

import subprocess
import sys
from pathlib import Path

from fake_hub import NAME, serving, settings
from traced import own_folders

NO_CONSOLE = "import sys; sys.stdout = sys.stderr = None\n"
ANSWER = """
import logging, pathlib, llava_edge
model = llava_edge.load(sys.argv[1])
options = llava_edge.Options(max_tokens=3, choices=("yes", "no"))
text = model.chat().answer("Is it?", sys.argv[2], options)
pathlib.Path("answer").write_text(text)
"""
COMMAND = "sys.argv[0] = 'llava-edge'; from llava_edge.cli.entry import main; main()\n"


def run(program: str, *words: object, folder: Path, **more: str) -> int:
    command = [sys.executable, "-c", NO_CONSOLE + program, *map(str, words)]
    return subprocess.run(command, cwd=folder, env=own_folders(folder, **more)).returncode


def test_a_bundle_answers(tiny_bundle: Path, photo_file: Path, tmp_path: Path) -> None:
    assert run(ANSWER, tiny_bundle, photo_file, folder=tmp_path) == 0
    assert (tmp_path / "answer").read_text() in ("yes", "no")


def test_a_command_ends_with_its_code(tiny_bundle: Path, photo_file: Path, tmp_path: Path) -> None:
    asked = ("--image", photo_file, "--prompt", "What?", "--max-tokens", 3)
    assert run(COMMAND, "chat", "--bundle", tiny_bundle, *asked, folder=tmp_path) == 0
    assert run(COMMAND, "list", folder=tmp_path) == 0
    assert run(COMMAND, "chat", "--bundle", "nowhere", folder=tmp_path) == 1


def test_a_bundle_is_pulled(tiny_bundle: Path, tmp_path: Path) -> None:
    program = "from llava_edge.hub.pull import pull; pull(sys.argv[1])"
    with serving(tiny_bundle) as (endpoint, _):
        hub = settings(endpoint, tmp_path / "cache")
        assert run(program, NAME, folder=tmp_path, LLAVA_EDGE_MODELS=str(tmp_path), **hub) == 0
    assert (tmp_path / "tiny-llava" / "bundle.json").exists()
