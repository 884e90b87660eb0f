"""Libraries that an extra of the package brings."""

from collections.abc import Iterator
from contextlib import contextmanager

from llava_edge.errors import LlavaEdgeError


@contextmanager
def needed_by(what: str, extra: str) -> Iterator[None]:
    """Turn a missing library into a LlavaEdgeError that says which extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise LlavaEdgeError(
            f"{what} needs {error.name}, which is not installed; "
            f"run `pip install 'llava-edge[{extra}]'`."
        ) from error
