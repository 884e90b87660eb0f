"""From nothing to the first word: what starting a whole process takes."""

import subprocess
import sys
import time

from llava_edge.bench.peers.candidate import PeerSettings
from llava_edge.bench.peers.client import Worker
from llava_edge.bench.peers.question import PeerQuestion
from llava_edge.errors import LlavaEdgeError


def start_peer(settings: PeerSettings, question: PeerQuestion) -> float:
    """Seconds to start a worker, load its model and read the first turn."""
    start = time.perf_counter()
    worker = Worker(settings)
    loaded = time.perf_counter() - start
    try:
        return loaded + worker.ask("question", **question.fields())["question"]
    finally:
        worker.close()


def start_llava_edge(settings: PeerSettings, question: PeerQuestion) -> float:
    """Seconds until the command line prints the first word of its answer."""
    options = {
        "--bundle": str(settings.bundle),
        "--device": settings.device,
        "--image": question.picture,
        "--prompt": question.prompt,
        "--max-tokens": "1",
    }
    command = [sys.executable, "-m", "llava_edge", "chat"]
    command += [word for option in options.items() for word in option]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        seconds = time.perf_counter() - start
        _, errors = process.communicate()
    if process.returncode:
        raise LlavaEdgeError(
            f"`llava-edge chat` failed ({' '.join(errors.decode(errors='replace').split())}); "
            "run it by itself first."
        )
    return seconds
