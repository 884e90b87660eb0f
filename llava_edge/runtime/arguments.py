"""Arguments of public calls: each is checked against its annotation, which says type and range."""

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np

from llava_edge.core.bundle import find_bundle
from llava_edge.errors import UsageError


def checked(name: str, value: object, annotation: Any) -> Any:
    """The value in its annotation's type: numpy's numbers as Python's, a list as a tuple.

    The annotation is Annotated with a Meta, whose description is what a UsageError asks for.
    """
    try:
        return msgspec.convert(_plain(value), annotation, strict=True)
    except msgspec.ValidationError as error:
        raise refusal(name, value, _description(annotation)) from error


def checked_path(name: str, value: object) -> Path:
    """A path with `~` resolved; raises UsageError for anything else."""
    if not isinstance(value, (str, Path)) or "\0" in str(value):
        raise refusal(name, value, "a path")
    try:
        return Path(value).expanduser()
    except RuntimeError as error:  # the home folder of a user who is not there
        raise refusal(name, value, "a path") from error


def bundle_folder(bundle: object) -> Path:
    """The folder of a bundle that a caller gave by path or name, or of the default.

    Raises UsageError for anything else, BundleError where there is no bundle.
    """
    if bundle is None:
        return find_bundle()
    path = checked_path("bundle", bundle)
    return find_bundle(bundle if isinstance(bundle, str) else path)


def refusal(name: str, value: object, expected: str) -> UsageError:
    """The sentence on an argument that is not as expected."""
    shown = " ".join(reprlib.repr(value).split())
    return UsageError(f"{name} is {shown}; give {expected}.")


def _plain(value: object) -> object:
    """msgspec knows Python's own numbers only."""
    if isinstance(value, Mapping):
        return {_number(key): _number(item) for key, item in value.items()}
    return _number(value)


def _number(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def _description(annotation: Any) -> str:
    """What the annotation, or the kind in it beside None, says of itself."""
    kinds = (annotation, *get_args(annotation))
    notes = (note for kind in kinds for note in getattr(kind, "__metadata__", ()))
    return next(str(note.description) for note in notes)
