"""API keys: where they come from, and the one place that reads them from a request."""

import hmac
import os
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from starlette.types import Scope

from llava_edge.errors import UsageError
from llava_edge.serve.guards.guard_settings import GuardSettings
from llava_edge.serve.guards.header_values import header_values
from llava_edge.serve.wire_errors import WireError

VARIABLE = "LLAVA_EDGE_API_KEYS"
_KEY = re.compile(r"[!-+\--~]{16,}")  # printable ASCII without blanks and commas


def read_keys(file: Path | None, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The keys of a file, one a line, and of the variable, with commas between them.

    Never of the command line, which other users of the machine can read. Raises UsageError.
    """
    keys = [*_lines(file), *environment.get(VARIABLE, "").split(",")]
    keys = [key for key in map(str.strip, keys) if key]
    if not all(map(_KEY.fullmatch, keys)):
        raise UsageError(
            "An API key is shorter than 16 characters, or has blanks, commas or letters beyond "
            "ASCII; make one with `python -c 'import secrets; print(secrets.token_urlsafe())'`."
        )
    if file is not None and not keys:
        raise UsageError(f"The file {file} holds no API key; write one a line.")
    return tuple(dict.fromkeys(keys))


def accepted_key(scope: Scope, settings: GuardSettings) -> str:
    """The sha256 of the key that came with a request, in hex; empty where none was needed.

    `Authorization: Bearer` and `x-api-key` count alike, and where both came they must agree.
    Raises WireError where a key is needed and missing or wrong.
    """
    if not settings.keys:
        return ""
    if (digest := _valid(_offered(scope), settings)) is not None:
        return digest
    if scope["method"] in ("GET", "HEAD") and scope["path"] in settings.open_paths:
        return ""
    raise WireError(
        401,
        "The API key is missing or wrong; send `Authorization: Bearer KEY`.",
        "authentication_error",
        "invalid_api_key",
        headers={"www-authenticate": 'Bearer realm="llava-edge"'},
    )


def _offered(scope: Scope) -> set[str]:
    bearer = [value.partition(" ") for value in header_values(scope, "authorization")]
    keys = [key.strip() if scheme.lower() == "bearer" else "" for scheme, _, key in bearer]
    return {*keys, *header_values(scope, "x-api-key")}


def _valid(offered: set[str], settings: GuardSettings) -> str | None:
    """Digests are compared, which have one length, each with every key, in constant time."""
    if len(offered) != 1:
        return None
    digest = sha256(offered.pop().encode()).digest()
    known = [sha256(key.encode()).digest() for key in settings.keys]
    matches = [hmac.compare_digest(digest, other) for other in known]
    return digest.hex() if any(matches) else None


def _lines(file: Path | None) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines() if file else []
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(f"The file of API keys {file} cannot be read ({reason}).") from error
