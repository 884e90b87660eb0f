"""Other machines reach the server behind a key only."""

import pytest

from llava_edge.errors import UsageError
from llava_edge.serve.guards.guard_settings import GuardSettings
from llava_edge.serve.guards.listening_address import check_address

KEYS = ("key-of-a-test-0123456789",)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", "LocalHost"])
def test_this_machines_own_addresses_need_no_key(host: str) -> None:
    check_address(host, ())


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "192.168.1.5", "desk.lan", "0x7f.1", "localhost.evil.example"]
)
def test_another_address_needs_a_key(host: str) -> None:
    with pytest.raises(UsageError, match="set a key"):
        check_address(host, ())
    check_address(host, KEYS)
    with pytest.raises(UsageError):
        GuardSettings(host=host)
    assert KEYS[0] not in repr(GuardSettings(host=host, keys=KEYS))
