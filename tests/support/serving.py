"""The server as it runs, in a thread; a model that waits where a test wants it to."""

import json
import re
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_edge import Llava, Piece
from llava_edge.runtime.stream import Stream
from llava_edge.serve.http_server import listening_socket
from llava_edge.serve.model_host import ModelHost
from llava_edge.serve.serve import make_server
from llava_edge.serve.serve_settings import ServeSettings
from llava_edge.serve.served_model import ServedModel

ADDRESS = "127.0.0.1"


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    port: int
    host: ModelHost

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.port}"

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path) as reply:
            return str(reply.read().decode())

    def figure(self, name: str) -> float:
        """A figure of /metrics, 0 where it was never counted."""
        match = re.search(rf"^llava_edge_{re.escape(name)} (.*)$", self.get("/metrics"), re.M)
        return float(match[1]) if match else 0.0

    def until(self, name: str, value: float) -> None:
        """Ask until a figure has a value."""
        while self.figure(name) != value:
            pass

    @contextmanager
    def request(self, body: Any, path: str = "/v1/chat/completions") -> Iterator[socket.socket]:
        """A connection on which a body has been posted."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {ADDRESS}:{self.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        with socket.create_connection((ADDRESS, self.port), timeout=60) as connection:
            connection.sendall(head.encode() + data)
            yield connection


@contextmanager
def serving_model(model: Llava, *, loaded: bool = True, **settings: Any) -> Iterator[Served]:
    """Serve a model at any free port; with `loaded=False` it is never loaded."""
    never = threading.Event()

    def load_model(path: Path) -> Llava:
        if not loaded:
            never.wait()
        return model

    host = ModelHost(model.path, load_model=load_model)
    host.loaded = ServedModel.of(host.id, model) if loaded else None
    server = make_server(host, ServeSettings(**settings))
    listening = listening_socket(ADDRESS, 0)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield Served(listening.getsockname()[1], host)
    finally:
        never.set()
        server.stop()
        thread.join()


class HeldLlava(Llava):
    """A model whose answers wait before their piece number `hold`, until `release` is set.

    `held` counts the answers that wait or have waited; one that is cancelled waits no longer.
    """

    hold: int
    release: threading.Event
    held: threading.Semaphore

    def stream(self, *arguments: Any, **options: Any) -> Any:
        return _HeldStream(super().stream(*arguments, **options), self)


class _HeldStream:
    def __init__(self, stream: Stream, model: HeldLlava) -> None:
        self._stream = stream
        self._model = model
        self._cancelled = threading.Event()

    def __iter__(self) -> Iterator[Piece]:
        for number in range(1_000_000):
            if number == self._model.hold:
                self._model.held.release()
                while not (self._model.release.is_set() or self._cancelled.wait(0.01)):
                    pass
            try:
                yield next(self._stream)
            except StopIteration:
                return

    def cancel(self) -> None:
        self._stream.cancel()
        self._cancelled.set()


def held(model: Llava, hold: int) -> HeldLlava:
    """The model, waiting before a piece of each answer."""
    found = HeldLlava(model.path, model.bundle)
    object.__setattr__(found, "hold", hold)
    object.__setattr__(found, "release", threading.Event())
    object.__setattr__(found, "held", threading.Semaphore(0))
    return found
