"""Libraries that an extra of the package brings."""

from collections.abc import Iterator
from contextlib import contextmanager

from llava_edge.errors import LlavaEdgeError


def install_command(extra: str) -> str:
    """What to type for an extra, in a clone: the package is on no index yet."""
    return f"pip install '.[{extra}]'"


@contextmanager
def needed_by(what: str, extra: str) -> Iterator[None]:
    """Turn a library that is missing or does not load into a LlavaEdgeError with the way out."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise LlavaEdgeError(
            f"{what} needs {error.name}, which is not installed; "
            f"run `{install_command(extra)}` in a clone of llava-edge."
        ) from error
    except ImportError as error:
        _pass_interrupt_on(error)
        library = (error.name or "a library").split(".")[0]
        raise LlavaEdgeError(
            f"{what} needs {library}, which is installed but does not load ({error}); "
            "install what is missing."
        ) from error


def _pass_interrupt_on(error: BaseException) -> None:
    """Compiled libraries turn a Ctrl-C while they are loaded into an ImportError."""
    cause = error.__cause__ or error.__context__
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            raise cause
        cause = cause.__cause__ or cause.__context__
