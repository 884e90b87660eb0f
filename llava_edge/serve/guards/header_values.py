"""The headers of an ASGI scope, of which one name may stand there several times."""

from starlette.types import Scope


def header_values(scope: Scope, name: str) -> list[str]:
    """Every value of a header, in order; ASGI gives names in lower case."""
    wanted = name.encode()
    return [value.decode("latin-1") for key, value in scope["headers"] if key == wanted]
