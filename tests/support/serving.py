"""The server as it runs, in a thread; a model that waits where a test wants it to."""

import itertools
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

    def post(self, words: str = "What?", **fields: Any) -> socket.socket:
        """A connection on which a question has been posted, whose answer nobody has read."""
        body = {"messages": [{"role": "user", "content": words}], "max_tokens": 5, **fields}
        data = json.dumps(body).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {ADDRESS}:{self.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        connection = socket.create_connection((ADDRESS, self.port), timeout=60)
        connection.sendall(head.encode() + data)
        return connection


@contextmanager
def serving_model(
    model: Llava, *, loaded: bool = True, send_buffer: int | None = None, **settings: Any
) -> Iterator[Served]:
    """Serve a model at any free port; with `loaded=False` it is never loaded.

    `send_buffer` is how many bytes the system may hold back for a client that does not read.
    """
    never = threading.Event()

    def load_model(path: Path) -> Llava:
        if not loaded:
            never.wait()
        return model

    host = ModelHost(model.path, load_model=load_model)
    host.loaded = ServedModel.of(host.id, model) if loaded else None
    server = make_server(host, ServeSettings(**settings))
    listening = listening_socket(ADDRESS, 0)
    if send_buffer is not None:  # connections inherit it
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
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

    One that is cancelled waits no longer. `held` is released for each that begins to wait, and
    `begun` has the words of the questions in the order in which their answers began. Where `fault`
    is set, it is raised in the place of that piece.
    """

    hold: int
    fault: Exception | None
    release: threading.Event
    held: threading.Semaphore
    begun: list[str]

    def stream(self, messages: Any, *arguments: Any, **options: Any) -> Any:
        stream = super().stream(messages, *arguments, **options)
        return _HeldStream(stream, self, str(messages[-1].content[-1]))


class _HeldStream:
    def __init__(self, stream: Stream, model: HeldLlava, words: str) -> None:
        self._stream = stream
        self._model = model
        self._words = words
        self._cancelled = threading.Event()

    def __iter__(self) -> Iterator[Piece]:
        self._model.begun.append(self._words)
        for number in itertools.count():
            if number == self._model.hold:
                self._wait()
            try:
                yield next(self._stream)
            except StopIteration:
                return

    def _wait(self) -> None:
        if self._model.fault is not None:
            raise self._model.fault
        self._model.held.release()
        while not (self._model.release.is_set() or self._cancelled.wait(0.01)):
            pass

    def cancel(self) -> None:
        self._stream.cancel()
        self._cancelled.set()


def held(model: Llava, hold: int, fault: Exception | None = None) -> HeldLlava:
    """The model with a memory of its own, waiting or failing before a piece of each answer."""
    found = HeldLlava(model.path, model.apart().bundle)
    fresh = {"release": threading.Event(), "held": threading.Semaphore(0), "begun": list[str]()}
    for name, value in {"hold": hold, "fault": fault, **fresh}.items():
        object.__setattr__(found, name, value)  # it is frozen
    return found
