"""Libraries that an extra of the package brings."""

from collections.abc import Iterator
from contextlib import contextmanager

from llava_edge.errors import LlavaEdgeError


def install_command(extra: str) -> str:
    """What to type for an extra, in a clone: the package is on no index yet."""
    return f"pip install '.[{extra}]'"


@contextmanager
def needed_by(what: str, extra: str) -> Iterator[None]:
    """Turn a missing library into a LlavaEdgeError that says which extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise LlavaEdgeError(
            f"{what} needs {error.name}, which is not installed; "
            f"run `{install_command(extra)}` in a clone of llava-edge."
        ) from error
