"""Libraries that an extra of the package brings."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from llava_edge.errors import LlavaEdgeError


def install_command(extra: str) -> str:
    """What to type for an extra, in a clone: the package is on no index yet."""
    return f"pip install '.[{extra}]'"


@contextmanager
def needed_by(what: str, extra: str) -> Iterator[None]:
    """Turn a missing library into a LlavaEdgeError that says which extra to install.

    A module that is missing within a library or within this package is another fault, and stays.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or _is_installed(error.name.partition(".")[0]):
            raise
        raise LlavaEdgeError(
            f"{what} needs {error.name}, which is not installed; "
            f"run `{install_command(extra)}` in a clone of llava-edge."
        ) from error


def _is_installed(library: str) -> bool:
    spec = find_spec(library)
    return spec is not None and spec.origin is not None  # else a name that several share: google
