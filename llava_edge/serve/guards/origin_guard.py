"""Pages of other origins: refused, or allowed by name and answered as CORS asks."""

from starlette.types import Scope, Send

from llava_edge.serve.guards.guard_settings import GuardSettings
from llava_edge.serve.guards.header_values import header_values
from llava_edge.serve.wire_errors import WireError

# What OpenAI's client sends from a browser, besides x-stainless-*.
_HEADERS = frozenset(
    {"authorization", "content-type", "openai-organization", "openai-project", "user-agent"}
    | {"x-api-key", "x-request-id", "x-requested-with"}
)
_READABLE = "retry-after, x-request-id, x-should-retry"

Headers = dict[str, str]


def cors_headers(scope: Scope, settings: GuardSettings) -> Headers:
    """The headers that let a page of an allowed origin read the reply; none for others.

    Refuses what a page of another origin sends, by Origin and Sec-Fetch-Site, as Go's
    CrossOriginProtection does. Programs send neither. Raises WireError.
    """
    origins = header_values(scope, "origin")
    if len(origins) == 1 and origins[0] in settings.origins:
        allowed = {"access-control-allow-origin": origins[0]}
        return {**allowed, "access-control-expose-headers": _READABLE, "vary": "Origin"}
    ours = [f"{scheme}://{header_values(scope, 'host')[0]}" for scheme in ("http", "https")]
    sites = {"same-origin", "none"}.issuperset(header_values(scope, "sec-fetch-site"))
    if any(origin not in ours for origin in origins):
        raise _refused()
    if not (origins or sites or _follows_link(scope)):
        raise _refused()
    return {"vary": "Origin"} if settings.origins else {}


def is_preflight(scope: Scope) -> bool:
    """Whether a browser asks what a page may send; it asks so without a key."""
    asked = ("origin", "access-control-request-method")
    return scope["method"] == "OPTIONS" and all(header_values(scope, name) for name in asked)


async def send_preflight(scope: Scope, send: Send) -> None:
    """Tell a browser which of the headers that it asks about may be sent."""
    asked = ",".join(header_values(scope, "access-control-request-headers")).lower().split(",")
    names = [name.strip() for name in asked]
    allowed = [name for name in names if name in _HEADERS or name.startswith("x-stainless-")]
    headers = {
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": ", ".join(allowed),
        "access-control-max-age": "600",
    }
    lines = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 204, "headers": lines})
    await send({"type": "http.response.body", "body": b""})


def _follows_link(scope: Scope) -> bool:
    """Whether somebody follows a link from another site to a page of this server's."""
    return scope["method"] == "GET" and header_values(scope, "sec-fetch-mode") == ["navigate"]


def _refused() -> WireError:
    return WireError(
        403,
        "A page of another origin sent this request; allow its origin as the server is started.",
        code="origin_not_allowed",
    )
