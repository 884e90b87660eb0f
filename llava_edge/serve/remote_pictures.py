"""Pictures from web addresses: only from hosts that are allowed, and from public addresses."""

import asyncio
import logging
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urljoin, urlsplit

import h11

from llava_edge.serve.public_address import is_public
from llava_edge.serve.wire_errors import WireError

_log = logging.getLogger("llava_edge")
_URL = re.compile(r"[!-\[\]-~]{1,4096}")  # printable ASCII; a backslash divides parsers
_PORTS = {"https": 443, "http": 80}
_CHUNK = 2**16

Resolve = Callable[[str, int], Awaitable[list[str]]]
Connect = Callable[..., Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class _Unfetched(Exception):
    """Why a picture is not fetched: for the log, and not for the client."""


async def _resolve(host: str, port: int) -> list[str]:
    """Every address of a host."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


@dataclass(frozen=True, kw_only=True)
class RemotePictures:
    """Where pictures may be fetched from, and how long that may take.

    A name is looked up once for each request; every address must be public, and one of them is
    dialled as it was checked. Redirects pass the same checks. Proxies and cookies are not used.
    """

    hosts: frozenset[str]
    http: bool = False  # without TLS too
    seconds: float = 10.0  # for everything together
    redirects: int = 3
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    resolve: Resolve = _resolve
    connect: Connect = asyncio.open_connection

    async def fetch(self, url: str, max_bytes: int, place: str | None = None) -> bytes:
        """The file at a web address; raises WireError, in which all reasons look the same."""
        try:
            async with asyncio.timeout(self.seconds):
                return await self._follow(url, max_bytes)
        except (_Unfetched, OSError, ValueError, h11.ProtocolError) as error:
            _log.info("A remote picture was not fetched: %s.", str(error) or type(error).__name__)
            raise WireError(
                400,
                "The picture's address is not allowed, or there is no picture at it; send the "
                "picture itself, as data:image/jpeg;base64,...",
                code="failed_to_download_image",
                param=place,
            ) from None

    async def _follow(self, url: str, max_bytes: int) -> bytes:
        for _ in range(self.redirects + 1):
            response, body = await self._get(self._allowed(url), max_bytes)
            if response.status_code == 200:
                return body
            location = dict(response.headers).get(b"location")
            if response.status_code not in (301, 302, 303, 307, 308) or location is None:
                raise _Unfetched(f"status {response.status_code}")
            url = urljoin(url, location.decode("ascii"))
        raise _Unfetched("too many redirects")

    def _allowed(self, url: str) -> SplitResult:
        """The parts of a URL, by the one parser whose result is then used."""
        if not _URL.fullmatch(url):
            raise _Unfetched("no plain URL")
        parts = urlsplit(url)
        if parts.scheme not in (("https", "http") if self.http else ("https",)):
            raise _Unfetched("scheme")
        if parts.port not in (None, _PORTS[parts.scheme]) or "@" in parts.netloc:
            raise _Unfetched("port or user")
        if parts.hostname not in self.hosts:
            raise _Unfetched("host is not allowed")
        return parts

    async def _get(self, parts: SplitResult, max_bytes: int) -> tuple[h11.Response, bytes]:
        host = parts.hostname or ""
        reader, writer = await self._dial(host, parts.scheme)
        try:
            return await _exchange(reader, writer, _request(parts, host), max_bytes)
        finally:
            writer.transport.abort()  # a polite end could be waited for

    async def _dial(
        self, host: str, scheme: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = _PORTS[scheme]
        addresses = await self.resolve(host, port)
        if not addresses or not all(map(is_public, addresses)):
            raise _Unfetched("address is not public")
        tls = {"ssl": self.tls, "server_hostname": host} if scheme == "https" else {}
        for address in addresses[:-1]:
            try:
                return await self.connect(address, port, **tls)
            except OSError:
                continue  # a host of both IPv4 and IPv6, of which one does not work from here
        return await self.connect(addresses[-1], port, **tls)


def _request(parts: SplitResult, host: str) -> h11.Request:
    headers = {
        "Host": f"[{host}]" if ":" in host else host,
        "Accept": "image/*",
        "Accept-Encoding": "identity",
        "User-Agent": "llava-edge",
        "Connection": "close",
    }
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return h11.Request(method="GET", target=target, headers=list(headers.items()))


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: h11.Request, max_bytes: int
) -> tuple[h11.Response, bytes]:
    """Ask and listen; of other statuses than 200 the body is not read."""
    connection = h11.Connection(h11.CLIENT)
    writer.write(connection.send(request) + connection.send(h11.EndOfMessage()))
    await writer.drain()
    response, body = None, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Response):
            response = event
            if event.status_code != 200:
                return event, b""
            if dict(event.headers).get(b"content-encoding", b"identity") != b"identity":
                raise _Unfetched("encoded")
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > max_bytes:
                raise _Unfetched("too many bytes")
        elif isinstance(event, h11.EndOfMessage) and response is not None:
            return response, bytes(body)
        elif isinstance(event, h11.ConnectionClosed):
            raise _Unfetched("no answer")
