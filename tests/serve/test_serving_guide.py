"""The guide's programs, as they are written there."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from places import ROOT
from serving import Served

from llava_edge import Llava, Message, Options, Picture

GUIDE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8080"


def program(kind: str, server: Served) -> str:
    (found,) = (
        text for text in re.findall(rf"```{kind}\n(.*?)```", GUIDE, re.S) if ADDRESS in text
    )
    return found.replace(ADDRESS, server.url).replace('model="any"', 'model="any", max_tokens=9')


@pytest.fixture
def expected(roomy_model: Llava, photo_file: Path) -> str:
    question = Message("user", ["What objects are in the picture?", Picture(photo_file)])
    return roomy_model.answer(question, Options(max_tokens=9))


@pytest.fixture
def folder(photo_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(photo_file, tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a script's files end with it
def test_the_program_for_python(
    server: Served, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(compile(program("python", server), "guide", "exec"), {})
    assert capsys.readouterr().out == expected


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_commands_for_curl(server: Served, expected: str, folder: Path) -> None:
    commands = program("sh", server).replace('{"messages"', '{"max_tokens": 9, "messages"')
    ended = subprocess.run(
        ["bash", "-ec", commands], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["choices"][0]["message"]["content"] == expected
