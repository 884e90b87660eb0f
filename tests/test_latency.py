"""The latency of a bundle is measured on pictures that the encoder has not seen."""

import json
import subprocess
import sys
from pathlib import Path

from llava_edge.bench.latency import measure


def test_every_run_encodes_its_picture(tiny_bundle: Path, photo_file: Path) -> None:
    latency = measure(tiny_bundle, photo_file, "What is this?", tokens=5, runs=3)
    assert latency.runs == 3
    assert 0 < latency.encode_seconds < latency.ttft_seconds
    assert latency.prompt_tokens > 36
    assert 1 <= latency.generated_tokens <= 5
    assert latency.peak_memory is None or latency.peak_memory > 10**7


def test_the_last_line_is_json(tiny_bundle: Path, photo_file: Path) -> None:
    command = [sys.executable, "-m", "llava_edge.bench.latency", tiny_bundle, "--image", photo_file]
    result = subprocess.run(
        [*map(str, command), "--runs", "1", "--tokens", "3"], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["runs"] == 1
