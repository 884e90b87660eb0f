"""The example for a cluster, run by Ray with two workers on this machine."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[1] / "examples" / "cluster" / "ask_with_ray.py"


@pytest.mark.skipif(
    find_spec("ray") is None, reason="Ray (80 MB) is wanted by examples/cluster alone"
)
def test_two_workers_answer_in_order_and_go_on(
    tmp_path: Path, tiny_bundle: Path, photo: Image.Image
) -> None:
    photo.save(tmp_path / "cat.png")
    questions = [{"id": f"q{n}", "image": "cat.png", "text": f"Number {n}?"} for n in range(40)]
    path, out = tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"
    path.write_text("\n".join(map(json.dumps, questions)))
    command = [sys.executable, SCRIPT, path, "--out", out, "--bundle", tiny_bundle]
    command += ["--workers", "2", "--max-tokens", "4"]
    for kept in (0, 12):
        if kept:
            out.write_text("".join(out.read_text().splitlines(keepends=True)[:kept]))
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert [row["id"] for row in rows] == [question["id"] for question in questions]
        assert all(row["answer_tokens"] for row in rows)
