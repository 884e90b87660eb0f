"""Starts a worker and asks it; between questions its process is stopped."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from llava_edge.bench.peers.candidate import Settings
from llava_edge.errors import LlavaEdgeError

CAN_STOP = hasattr(signal, "SIGSTOP")  # not on Windows


class Worker:
    """A candidate in a process of its own.

    One that is not asked is stopped, since threads that wait for work may spin on the cores that
    another needs.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        arguments = json.dumps(asdict(settings), default=str)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "llava_edge.bench.peers.worker", arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._receive()

    def ask(self, request: str, **arguments: Any) -> dict[str, float]:
        """One of worker.REQUESTS; raises LlavaEdgeError where the candidate fails."""
        assert self._process.stdin is not None
        self._signal("SIGCONT")
        self._process.stdin.write(json.dumps((request, arguments)) + "\n")
        self._process.stdin.flush()
        return self._receive()

    def close(self) -> None:
        """End the process."""
        self._signal("SIGCONT")
        self._process.kill()
        self._process.communicate()

    def _receive(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found: dict[str, Any] = json.loads(line) if line else {"error": "its process has died"}
        if "error" in found:
            self.close()
            reason = found["error"].rstrip(".")
            raise LlavaEdgeError(
                f"{self.settings.name} failed ({reason}); leave it out with --peers."
            )
        self._signal("SIGSTOP")
        return found

    def _signal(self, name: str) -> None:
        if CAN_STOP:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, getattr(signal, name))
