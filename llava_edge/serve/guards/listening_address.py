"""The address that is listened on: this machine's own, or another one behind a key."""

from collections.abc import Collection
from ipaddress import ip_address

from llava_edge.errors import UsageError


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own, reached from nowhere else."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_address(host: str, keys: Collection[str]) -> None:
    """Raise UsageError for an address that other machines reach, where no key is set."""
    if not keys and not is_loopback(host):
        raise UsageError(
            f"Other machines may reach the address {host!r}, and no key is set; set a key, or "
            "listen on 127.0.0.1."
        )
