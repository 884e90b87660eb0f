"""Fetching from the Hugging Face hub: what goes wrong is said in one sentence."""

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError

from llava_edge.errors import LlavaEdgeError

_NO_NETWORK = (errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH)


@contextmanager
def fetching(name: str, kind: type[LlavaEdgeError]) -> Iterator[None]:
    """Within it the hub's `org/name` is fetched, and what goes wrong is raised as this kind."""
    from huggingface_hub import errors
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if sys.stderr is None:  # in an app without a console, where bars would raise
        disable_progress_bars()
    failures = (  # but no fault of a program, such as a TypeError
        OSError,  # of the disk, and all that requests raises
        getattr(errors, "HTTPError", OSError),  # all that httpx raises
        getattr(errors, "XetDownloadError", RuntimeError),  # all that hf_xet raises
        JSONDecodeError,
        errors.HFValidationError,
    )
    try:
        yield
    except errors.GatedRepoError:
        raise kind(
            f"{name} can only be fetched by those who accepted its terms; accept them at "
            f"huggingface.co/{name} and run `hf auth login`."
        ) from None
    except errors.RepositoryNotFoundError:
        raise kind(
            f"There is neither a folder {name} nor such a model on the Hugging Face hub; check the "
            "name, and run `hf auth login` if the model is private."
        ) from None
    except failures as error:
        way_out = "check the connection" if is_unreachable(error) else "correct that"
        raise kind(
            f"{name} could not be fetched from the Hugging Face hub ({reason(error)}); {way_out} "
            "and run the same command again, which fetches what is missing."
        ) from error


def is_unreachable(error: BaseException) -> bool:
    """Whether the hub gave no answer, by what lies beneath the error of the library for HTTP."""
    if (response := getattr(error, "response", None)) is not None:
        return bool(response.status_code >= 500)
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, ConnectionError | TimeoutError | socket.gaierror):
            return True
        if isinstance(below, OSError) and below.errno in _NO_NETWORK:
            return True
        below = below.__cause__ or below.__context__
    return False


def reason(error: Exception) -> str:
    """What the library says, in one line."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
