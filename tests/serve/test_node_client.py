"""OpenAI's client for Node, unchanged."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from places import ROOT, SUPPORT
from serving import Served

from llava_edge import Llava, Message, Options, Picture

FOLDER = ROOT / "build" / "node"


@pytest.fixture(scope="module")
def node() -> str:
    """Node, with the package `openai` in a folder."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("Node and npm are not installed")
    if not (FOLDER / "node_modules" / "openai").is_dir():
        FOLDER.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", ".", "openai"]
        if subprocess.run(command, cwd=FOLDER).returncode != 0:
            pytest.skip("npm's registry cannot be reached")
    return node


def test_the_client_gets_what_pythons_gets(
    node: str, server: Served, roomy_model: Llava, photo_url: str, photo_file: Path
) -> None:
    program = (SUPPORT / "ask_by_node.mjs").read_text()
    command = [node, "--input-type=module", "-e", program, server.url]
    ended = subprocess.run(
        command, input=photo_url, cwd=FOLDER, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    question = Message("user", ["What is this?", Picture(photo_file)])
    expected = roomy_model.answer(question, Options(max_tokens=12))
    assert found["whole"]["choices"][0]["message"]["content"] == found["final"] == expected
    *others, last = found["chunks"]
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in others) == expected
    assert last["usage"]["prompt_tokens_details"]["image_tokens"] == 36
    request_id = found["refused"].pop("requestID")
    assert request_id.startswith("req_")
    assert found["refused"] == {
        "status": 400,
        "type": "invalid_request_error",
        "param": "temperature",
    }
    assert [model["id"] for model in found["models"]] == ["tiny-llava"]
