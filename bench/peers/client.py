"""Starts a worker and asks it."""

from dataclasses import asdict

from llava_edge.bench.peers.candidate import PeerSettings
from llava_edge.bench.worker_process import WorkerProcess


class Worker(WorkerProcess):
    """A candidate in a process of its own, which is asked one of worker.REQUESTS."""

    def __init__(self, settings: PeerSettings) -> None:
        self.settings = settings
        super().__init__(
            settings.name,
            "llava_edge.bench.peers.peer_worker",
            asdict(settings),
            "leave it out with --peers",
        )
