"""`llava-edge` as a process of its own."""

import os
import subprocess
import sys

import warm_process

LOOK = {"COLUMNS": "200", "NO_COLOR": "1"}


def run(
    *arguments: object, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "llava_edge", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, **LOOK, **environment},
    )


def run_warm(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The same with torch imported from the start, for verbs that import it."""
    return warm_process.run("-m", "llava_edge", *arguments, **LOOK)


def refusal(result: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """The one line of an error."""
    assert result.returncode == code, result.stderr
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert line.endswith(".")
    return line
