"""Thousands of requests, a third of which are given up: what the server holds before and after."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import psutil

from llava_edge.bench.serving.streamed_request import ChatServer
from llava_edge.errors import LlavaEdgeError

CLIENTS = 8
SETTLE = 0.1  # of the requests come before the first look: caches fill, threads start


@dataclass(frozen=True)
class Holdings:
    """What a process holds: bytes in memory, threads, and open files and sockets."""

    memory: int
    threads: int
    descriptors: int

    @classmethod
    def of(cls, process: psutil.Process) -> "Holdings":
        """What it holds now."""
        with process.oneshot():
            handles = getattr(process, "num_fds", None) or getattr(process, "num_handles")  # noqa: B009
            return cls(process.memory_info().rss, process.num_threads(), handles())


@dataclass(frozen=True)
class Soak:
    """The server before and after the requests; those that failed are counted."""

    requests: int
    given_up: int
    failed: int
    before: Holdings
    after: Holdings


def serve_soak(
    server: ChatServer,
    process: psutil.Process,
    picture: bytes,
    requests: int,
    watch: Callable[[int], None] = lambda done: None,
) -> Soak:
    """Send the requests from several clients; every third one is given up at some event."""
    early = int(requests * SETTLE)
    _send(server, picture, early, 0, watch)
    before = Holdings.of(process)
    given_up, failed = _send(server, picture, requests - early, early, watch)
    return Soak(requests, given_up, failed, before, Holdings.of(process))


def _send(
    server: ChatServer, picture: bytes, requests: int, first: int, watch: Callable[[int], None]
) -> tuple[int, int]:
    numbers = count(first)
    given_up, failed = [], []

    def send() -> None:
        while (number := next(numbers)) < first + requests:
            leave = number % 3 == 0
            try:
                stop = number // 3 % 5 if leave else None
                server.ask(f"Number {number}?", picture if number % 4 else None, 6, stop)
            except LlavaEdgeError:
                failed.append(number)
            if leave:
                given_up.append(number)
            watch(number + 1)

    threads = [threading.Thread(target=send) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(given_up), len(failed)
