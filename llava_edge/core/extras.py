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
    """Turn a library that is missing or does not load into a LlavaEdgeError with the way out.

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
    except ImportError as error:
        _pass_interrupt_on(error)
        library = (error.name or "a library").partition(".")[0]
        if library == "llava_edge":
            raise
        raise LlavaEdgeError(
            f"{what} needs {library}, which is installed but does not load ({error}); "
            "install what is missing."
        ) from error


def _is_installed(library: str) -> bool:
    spec = find_spec(library)
    return spec is not None and spec.origin is not None  # else a name that several share: google


def _pass_interrupt_on(error: BaseException) -> None:
    """Compiled libraries turn a Ctrl-C while they are loaded into an ImportError."""
    cause = error.__cause__ or error.__context__
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            raise cause
        cause = cause.__cause__ or cause.__context__
