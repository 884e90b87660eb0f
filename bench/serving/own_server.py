"""A `llava-edge serve` in a process of its own, for as long as it is measured."""

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import psutil

from llava_edge.errors import LlavaEdgeError

_URL = re.compile(r"http://[\d.]+:\d+")
_PATIENCE = 0.05  # seconds between two looks at whether it is loaded


class OwnServer(NamedTuple):
    """Its address and its process."""

    url: str
    process: psutil.Process


@contextmanager
def own_server(bundle: Path | str | None, device: str, parallel: int) -> Iterator[OwnServer]:
    """Serve a bundle on a free port; raises LlavaEdgeError where that fails."""
    command = [sys.executable, "-m", "llava_edge", "serve", *([str(bundle)] if bundle else [])]
    command += ["--port", "0", "--device", device, "--parallel", str(parallel), "--queue", "512"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        said = process.stderr.readline()
        if (found := _URL.search(said)) is None:
            reason = (said + process.stderr.read()).strip().removeprefix("Error: ").rstrip(".")
            raise LlavaEdgeError(f"llava-edge serve failed ({reason}); serve the bundle by itself.")
        reader = threading.Thread(target=process.stderr.read)  # of its log, or a pipe would fill
        reader.start()
        try:
            _await_loaded(found[0], process)
            yield OwnServer(found[0], psutil.Process(process.pid))
        finally:
            process.terminate()
            reader.join()
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()


def _await_loaded(url: str, process: "subprocess.Popen[str]") -> None:
    host, port = url.removeprefix("http://").split(":")
    while process.poll() is None:
        connection = HTTPConnection(host, int(port))
        try:
            connection.request("GET", "/health")
            response = connection.getresponse()
            if response.status == 200:
                return
            json.load(response)
        finally:
            connection.close()
        time.sleep(_PATIENCE)
    raise LlavaEdgeError(
        "llava-edge serve ended while it was loading; run it by itself to see why."
    )
