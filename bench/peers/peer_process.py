"""A candidate's process: how it is asked, and how long its start takes."""

import subprocess
import sys
import time
from dataclasses import asdict

from llava_edge.bench.peers.candidate import PeerSettings
from llava_edge.bench.peers.question import PeerQuestion
from llava_edge.bench.worker_process import WorkerProcess
from llava_edge.errors import LlavaEdgeError


class Worker(WorkerProcess):
    """A candidate in a process of its own, which is asked one of peer_worker.REQUESTS."""

    def __init__(self, settings: PeerSettings) -> None:
        self.settings = settings
        super().__init__(
            settings.name,
            "llava_edge.bench.peers.peer_worker",
            asdict(settings),
            "leave it out with --peers",
        )


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
            "see whether it runs alone."
        )
    return seconds
