"""A process that answers each line of JSON with another, and is stopped between requests."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from typing import Any, TextIO

import psutil

from llava_edge.errors import LlavaEdgeError


class WorkerProcess:
    """Runs a module with `settings` as its JSON argument; its first answer is `greeting`.

    While it is not asked it is stopped, since threads that wait for work may spin on cores that
    another process needs. Raises LlavaEdgeError if it fails, a sentence that ends in `advice`.
    """

    def __init__(self, name: str, module: str, settings: object, advice: str) -> None:
        self.name = name
        self._advice = advice
        self._process = psutil.Popen(
            [sys.executable, "-m", module, json.dumps(settings, default=str)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.greeting = self._receive()

    def ask(self, request: str, **arguments: Any) -> dict[str, float]:
        """Send a request; raises LlavaEdgeError where the process fails."""
        self._process.resume()
        self._process.stdin.write(json.dumps((request, arguments)) + "\n")
        self._process.stdin.flush()
        return self._receive()

    def close(self) -> None:
        """End the process."""
        with suppress(psutil.NoSuchProcess):  # which has ended by itself
            self._process.kill()
        self._process.communicate()

    def _receive(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        found: dict[str, Any] = json.loads(line) if line else {"error": "its process ended"}
        if "error" in found:
            self.close()
            reason = found["error"].rstrip(".")
            raise LlavaEdgeError(f"{self.name} failed ({reason}); {self._advice}.")
        self._process.suspend()
        return found


def take_stdout() -> TextIO:
    """In the worker: a stream for answers; what libraries print goes to stderr from now on."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return out


def send_error(error: Exception, out: TextIO) -> None:
    """In the worker: say as the last answer that it failed, and why."""
    reason = " ".join(str(error).split()) or type(error).__name__
    print(json.dumps({"error": reason}), file=out)
