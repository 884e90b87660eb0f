"""Requests that were sent to another server's name are refused, however the name is written."""

from collections.abc import Iterator

import pytest
from running_server import ask, guarded_echo

from llava_edge.serve.guards.guard_settings import GuardSettings
from llava_edge.serve.guards.host_guard import check_host
from llava_edge.serve.wire_errors import WireError

KEY = "key-of-a-test-0123456789"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with guarded_echo(host_names=frozenset({"Desk.lan"})) as port:
        yield port


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8000",
        "LOCALHOST:8000",
        "app.localhost",
        "127.0.0.1:8000",
        "127.8.9.1",
        "[::1]:8000",
        "[0:0:0:0:0:0:0:1]",
        "desk.lan",
        "DESK.LAN:80",
    ],
)
def test_its_own_names_are_answered(port: int, host: str) -> None:
    assert ask(port, host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "evil-localhost",
        "127.0.0.1.evil.example",
        "192.168.1.5",  # another address than the one listened on
        "[fe80::1]",
        "0.0.0.0",
        "2130706433",
        "0x7f.1",
        "localhost.",
    ],
)
def test_other_names_are_refused(port: int, host: str) -> None:
    refused = ask(port, host=host)
    assert refused.status == 403
    assert refused.error["code"] == "host_not_allowed"
    assert host not in refused.error["message"]


@pytest.mark.parametrize(
    "host", ["", "evil@localhost", "localhost/x", "[::1", "::1", "localhost:port", "a b", "lo\xe7"]
)
def test_what_is_no_name_is_refused(port: int, host: str) -> None:
    assert ask(port, host=host).status == 400


def test_a_missing_host_is_refused(port: int) -> None:
    assert ask(port, host=None, http="1.0").status == 400
    assert ask(port, host=None).status == 400


def test_two_hosts_are_refused(port: int) -> None:
    assert ask(port, host="localhost", headers=[("Host", "evil.example")]).status == 400
    assert ask(port, host="localhost", headers=[("Host", "localhost")], http="1.0").status == 400
    lines = [(b"host", b"localhost"), (b"host", b"evil.example")]
    with pytest.raises(WireError, match="one Host"):  # also where h11 does not read them
        check_host({"path": "/", "headers": lines}, GuardSettings())


@pytest.mark.parametrize("target", ["http://evil.example/v1/models", "*", "v1/models"])
def test_a_target_that_is_no_path_is_refused(port: int, target: str) -> None:
    assert ask(port, target).status == 400


def test_the_path_decides_and_not_what_is_made_of_host_and_path() -> None:
    with guarded_echo(keys=(KEY,), open_paths=frozenset({"/health"})) as port:
        for target in ("/v1/models?/health", "/health/../v1/models", "//health", "/health%2F"):
            assert ask(port, target).status == 401
        assert ask(port, "/v1/models", host="localhost/health?").status == 400


def test_behind_a_key_addresses_are_answered_and_other_names_are_not() -> None:
    with guarded_echo(host="0.0.0.0", keys=(KEY,)) as port:
        key = [("x-api-key", KEY)]
        for host in ("192.168.1.5:8000", "[2001:db8::1]:80", "localhost"):
            assert ask(port, host=host, headers=key).status == 200
        assert ask(port, host="evil.example", headers=key).status == 403
