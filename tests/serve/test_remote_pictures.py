"""Remote pictures: only from allowed hosts at public addresses, through every trick known."""

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trustme

from llava_edge.serve.remote_pictures import RemotePictures
from llava_edge.serve.wire_errors import WireError

HOST, OTHER = "pictures.example", "other.example"
PUBLIC, ALSO_PUBLIC = "93.184.216.34", "2606:4700::1111"
DATA = bytes(range(256)) * 300
MOST = len(DATA)
SAME = "The picture's address is not allowed, or there is no picture at it"


class Handler(BaseHTTPRequestHandler):
    """What a path asks for: a file, a redirect, a status, or something that does not end."""

    def do_GET(self) -> None:
        kind, _, rest = self.path.strip("/").partition("/")
        if kind == "redirect":
            self.send_response(302)
            self.send_header("Location", rest)
            self.send_header("Set-Cookie", "a=b")
            self.end_headers()
        elif kind == "endless":
            self.send_response(200)
            self.end_headers()
            self._write_for_ever(b"x" * 2**16)
        elif kind == "headers":
            self._write_for_ever(b"HTTP/1.1 200 OK\r\n" + b"X-Header: x\r\n" * 999)
        elif kind == "silent":
            self.server.stopped.wait()  # type: ignore[attr-defined]
        elif kind == "gzip":
            self._file([("Content-Encoding", "gzip")])
        elif kind == "status":
            self.send_error(int(rest))
        else:
            self.server.seen.append(self)  # type: ignore[attr-defined]
            self._file([])

    def _file(self, headers: list[tuple[str, str]]) -> None:
        self.send_response(200)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(DATA)

    def _write_for_ever(self, data: bytes) -> None:
        try:
            while True:
                self.wfile.write(data)
        except OSError:  # the client has had enough
            self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """A server on a free port of this machine, with TLS or without."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[Handler] = []
        self.stopped = threading.Event()
        self.context = context

    def get_request(self) -> tuple[socket.socket, Any]:
        client, address = super().get_request()
        return (
            (self.context.wrap_socket(client, server_side=True), address)
            if self.context
            else (
                client,
                address,
            )
        )

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a handshake or reply that the client broke off


@contextmanager
def running(context: ssl.SSLContext | None) -> Iterator[Server]:
    with Server(context) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.stopped.set()
        server.shutdown()
        thread.join()


AUTHORITY = trustme.CA()


@pytest.fixture(scope="module")
def secure() -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert(HOST, OTHER).configure_cert(context)
    with running(context) as server:
        yield server


@pytest.fixture(scope="module")
def plain() -> Iterator[Server]:
    with running(None) as server:
        yield server


class Internet:
    """The names of a small internet, whose public addresses all lead to the local servers."""

    def __init__(self, secure: Server, plain: Server) -> None:
        self.addresses: dict[str, list[str]] = {HOST: [PUBLIC], OTHER: [ALSO_PUBLIC]}
        self.ports = {443: secure.server_port, 80: plain.server_port}
        self.dead: set[str] = set()
        self.asked: list[str] = []
        self.dialled: list[tuple[str, int]] = []
        self.tls = ssl.create_default_context()
        AUTHORITY.configure_trust(self.tls)

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host not in self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.addresses[host]

    async def connect(
        self, address: str, port: int, **tls: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.dialled.append((address, port))
        if address in self.dead:
            raise ConnectionRefusedError
        return await asyncio.open_connection("127.0.0.1", self.ports[port], **tls)

    def fetch(self, url: str, most: int = MOST, **settings: Any) -> bytes:
        settings = {"hosts": frozenset({HOST, OTHER}), "tls": self.tls, **settings}
        remote = RemotePictures(resolve=self.resolve, connect=self.connect, **settings)
        return asyncio.run(remote.fetch(url, most, "place"))

    def refused(self, url: str, **settings: Any) -> None:
        with pytest.raises(WireError) as caught:
            self.fetch(url, **settings)
        assert caught.value.message.startswith(SAME)
        assert caught.value.code == "failed_to_download_image"
        assert (caught.value.status, caught.value.param) == (400, "place")


@pytest.fixture
def internet(secure: Server, plain: Server) -> Internet:
    secure.seen.clear()
    return Internet(secure, plain)


def test_a_picture_is_fetched_from_the_address_that_was_checked(
    internet: Internet, secure: Server
) -> None:
    assert internet.fetch(f"https://{HOST}/a/b.png?size=1#part") == DATA
    assert internet.asked == [HOST]
    assert internet.dialled == [(PUBLIC, 443)]
    (request,) = secure.seen
    assert request.path == "/a/b.png?size=1"
    assert request.headers["Host"] == HOST
    assert request.headers["Accept-Encoding"] == "identity"
    assert request.headers["Cookie"] is None and request.headers["Authorization"] is None


def test_without_tls_it_is_fetched_where_that_is_allowed(internet: Internet) -> None:
    internet.refused(f"http://{HOST}/")
    assert internet.dialled == []
    assert internet.fetch(f"http://{HOST}/", http=True) == DATA
    assert internet.dialled == [(PUBLIC, 80)]


def test_a_host_may_have_an_address_that_does_not_answer(internet: Internet) -> None:
    internet.addresses[HOST] = [ALSO_PUBLIC, PUBLIC]
    internet.dead = {ALSO_PUBLIC}
    assert internet.fetch(f"https://{HOST}/") == DATA
    internet.dead = {ALSO_PUBLIC, PUBLIC}
    internet.refused(f"https://{HOST}/")


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/",
        f"https://{HOST}.evil.example/",
        f"https://evil.example/{HOST}",
        f"https://{HOST}@evil.example/",
        f"https://user:word@{HOST}/",
        f"https://evil.example\\@{HOST}/",
        f"https://{HOST}\\@evil.example/",
        f"https://evil.example#@{HOST}/",
        f"https://{HOST}:8443/",
        f"https://{HOST}:80/",
        f"https://{HOST}:x/",
        f"https://{HOST}./",
        f"https:/{HOST}/",
        f"https:{HOST}",
        f"//{HOST}/",
        f"ftp://{HOST}/",
        f"file://{HOST}/etc/passwd",
        f"https://{HOST}/a b",
        f"https://{HOST}/\r\nX-Header: x",
        f"ht\ntps://{HOST}/",
        f"https://{HOST}/sch\xf6n",
        "https://p\u0131ctures.example/",
        "https://[::1",
        "https://",
        "https://127.0.0.1/",
        "https://2130706433/",
        f"https://{HOST}/" + "x" * 5000,
    ],
    ids=range(27),
)
def test_other_addresses_are_not_even_looked_up(internet: Internet, url: str) -> None:
    internet.refused(url)
    assert internet.asked == [] and internet.dialled == []


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"],
)
def test_a_name_that_leads_inside_is_not_dialled(internet: Internet, address: str) -> None:
    for addresses in ([address], [PUBLIC, address], [address, PUBLIC], []):
        internet.addresses[HOST] = addresses
        internet.refused(f"https://{HOST}/")
    assert internet.dialled == []


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "0177.0.0.1", "127.1", "localhost"])
def test_numbers_are_checked_as_the_system_reads_them(internet: Internet, host: str) -> None:
    """Even where somebody allowed such a host: by the system's own look-up."""
    remote = RemotePictures(hosts=frozenset({host}), connect=internet.connect)
    with pytest.raises(WireError, match=SAME):
        asyncio.run(remote.fetch(f"https://{host}/", MOST))
    assert internet.dialled == []


def test_a_name_that_leads_elsewhere_the_second_time_is_not_asked_again(
    internet: Internet,
) -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"]])

    async def resolve(host: str, port: int) -> list[str]:
        internet.asked.append(host)
        return next(answers)

    internet.resolve = resolve  # type: ignore[method-assign]
    assert internet.fetch(f"https://{HOST}/") == DATA
    assert internet.asked == [HOST] and internet.dialled == [(PUBLIC, 443)]
    internet.refused(f"https://{HOST}/")
    assert internet.dialled == [(PUBLIC, 443)]


def test_redirects_are_followed_three_times(internet: Internet) -> None:
    hop = f"redirect/https://{OTHER}/"
    assert internet.fetch(f"https://{HOST}/{hop}picture.png") == DATA
    assert internet.dialled == [(PUBLIC, 443), (ALSO_PUBLIC, 443)]
    assert internet.fetch(f"https://{HOST}/" + hop * 3) == DATA
    assert internet.fetch(f"https://{HOST}/redirect//picture.png") == DATA  # relative
    internet.refused(f"https://{HOST}/" + hop * 4)


@pytest.mark.parametrize(
    "target",
    [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://[::1]/",
        "https://2130706433/",
        "https://evil.example/",
        f"http://{HOST}/",
        "file:///etc/passwd",
        f"https://{HOST}:22/",
        f"https://user@{HOST}/",
        "//evil.example/",
        "",
    ],
)
def test_a_redirect_passes_the_same_checks(internet: Internet, target: str) -> None:
    internet.refused(f"https://{HOST}/redirect/{target}", hosts=frozenset({HOST}))
    assert internet.dialled[0] == (PUBLIC, 443)
    assert {address for address, _ in internet.dialled} == {PUBLIC}


def test_a_redirect_to_an_allowed_name_that_leads_inside_is_refused(internet: Internet) -> None:
    internet.addresses[OTHER] = ["127.0.0.1"]
    internet.refused(f"https://{HOST}/redirect/https://{OTHER}/")
    assert internet.dialled == [(PUBLIC, 443)]


def test_the_certificate_must_be_the_hosts(internet: Internet) -> None:
    internet.addresses["third.example"] = [PUBLIC]
    internet.refused("https://third.example/", hosts=frozenset({"third.example"}))
    assert internet.dialled == [(PUBLIC, 443)]


def test_the_certificate_must_be_an_authoritys(internet: Internet) -> None:
    internet.refused(f"https://{HOST}/", tls=ssl.create_default_context())
    assert internet.dialled == [(PUBLIC, 443)]


@pytest.mark.parametrize("kind", ["endless", "headers", "gzip", "status/404", "status/500"])
def test_what_is_no_file_of_the_allowed_size_is_refused(internet: Internet, kind: str) -> None:
    internet.refused(f"https://{HOST}/{kind}", seconds=1000)


def test_a_file_may_have_as_many_bytes_as_are_allowed(internet: Internet) -> None:
    assert len(internet.fetch(f"https://{HOST}/", MOST)) == MOST
    with pytest.raises(WireError, match=SAME):
        internet.fetch(f"https://{HOST}/", MOST - 1)


def test_the_time_is_for_everything_together(internet: Internet) -> None:
    internet.refused(f"https://{HOST}/silent", seconds=0.5)

    async def never(*arguments: Any, **named: Any) -> Any:
        await asyncio.Event().wait()

    internet.resolve = never  # type: ignore[method-assign]
    internet.refused(f"https://{HOST}/", seconds=0.1)


def test_absent_and_refused_look_the_same(internet: Internet) -> None:
    del internet.addresses[OTHER]
    for url in (f"https://{OTHER}/", "https://evil.example/", f"https://{HOST}/status/404"):
        internet.refused(url)


def test_the_log_says_why_but_not_which_url(
    internet: Internet, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "llava_edge"):
        internet.refused("https://evil.example/?token=secret")
    assert "host is not allowed" in caplog.text
    assert "secret" not in caplog.text


def test_proxies_of_the_environment_are_not_used(
    internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert internet.fetch(f"https://{HOST}/") == DATA
