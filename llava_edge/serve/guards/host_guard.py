"""The Host header: a page whose name was made to lead to this machine is told apart by it."""

import re
from ipaddress import ip_address

from starlette.types import Scope

from llava_edge.serve.guards.guard_settings import GuardSettings
from llava_edge.serve.guards.header_values import header_values
from llava_edge.serve.guards.listening_address import is_loopback
from llava_edge.serve.wire_errors import WireError

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{1,5})?")


def check_host(scope: Scope, settings: GuardSettings) -> None:
    """Refuse a request that was sent to another server's name (DNS rebinding).

    Loopback addresses and `localhost` are always this server's. Where it listens on another
    address, so is every IP address, since rebinding needs a name. Raises WireError.
    """
    if not scope["path"].startswith("/"):  # the absolute form, or OPTIONS *
        raise WireError(400, "The request names more than a path; send a path that begins with /.")
    values = header_values(scope, "host")
    match = _HOST.fullmatch(values[0].lower()) if len(values) == 1 else None
    if match is None:
        raise WireError(400, "The request needs one Host header with a name or an address.")
    if not _is_ours(match[1] or match[2], settings):
        raise WireError(
            403,
            "The Host header names another server; use localhost, or allow the name as the server "
            "is started.",
            code="host_not_allowed",
        )


def _is_ours(host: str, settings: GuardSettings) -> bool:
    names = {name.lower() for name in (settings.host, *settings.host_names)}
    if host in names or host.endswith(".localhost") or is_loopback(host):
        return True
    return not is_loopback(settings.host) and _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
