"""uvicorn with a bundle behind it: it loads while the port is open, and ends in order."""

import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from llava_edge.errors import UsageError


class HttpServer(uvicorn.Server):
    """Serves an app.

    `begin` is called once it listens, with what ends it, and `finish` once it is told to end.
    """

    def __init__(
        self,
        app: ASGIApp,
        stop_seconds: int,
        begin: Callable[[Callable[[], None]], None],
        finish: Callable[[], None],
    ) -> None:
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,  # a windowed app has no streams, which uvicorn's own asks for
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=stop_seconds,
        )
        super().__init__(config)
        self._begin = begin
        self._finish = finish

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then begin."""
        await super().startup(sockets)
        self._begin(self.stop)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let every answer send its last words, then close."""
        self._finish()
        await super().shutdown(sockets)

    def stop(self) -> None:
        """Tell it to end, from any thread."""
        self.should_exit = True


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens; raises UsageError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise UsageError(
            f"The address {host} with port {port} cannot be used ({error.strerror}); "
            "give another --host or --port."
        ) from error


def url_of(listening: socket.socket, host: str) -> str:
    """What to type into a browser."""
    port = listening.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
