"""A folder that appears whole or not at all."""

import errno
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from llava_edge.core.bundle import holds_bundle
from llava_edge.errors import BundleError


def check_target(out: Path, *, force: bool) -> None:
    """Raise BundleError where `out` is there and may not be replaced; only a bundle ever may.

    What a run that was killed has left beside it is removed first.
    """
    _remove_remains(out)
    if not out.exists():
        return
    if not force:
        raise BundleError(
            f"{out} exists already and was left as it is; choose another folder, or replace it "
            "with --force."
        )
    if not holds_bundle(out) and not (out.is_dir() and not any(out.iterdir())):
        raise BundleError(
            f"{out} exists and is no bundle, so --force does not replace it; "
            "choose another folder, or remove it yourself."
        )


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its place at the end, or vanishes on any failure.

    Raises BundleError where it cannot be written, a full disk and a lack of memory included.
    """
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _replace(out, temporary)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            raise _cannot_write(out, error) from error
        if isinstance(error, MemoryError):
            raise BundleError(
                f"There was not enough memory to write {out}, so it was removed again; close other "
                "programs, or use a machine with more memory."
            ) from error
        raise


def _remove_remains(out: Path) -> None:
    """Remove what killed runs have left; a bundle that one had set aside is put back."""
    for path in out.parent.glob(f".{glob.escape(out.name)}.*.*"):
        number, kind = path.name.removeprefix(f".{out.name}.").split(".", 1)
        if kind not in ("tmp", "old") or not number.isdigit() or _is_running(int(number)):
            continue
        if kind == "old" and not out.exists():
            path.rename(out)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _is_running(process: int) -> bool:
    if process == os.getpid():  # left by a run in a container, where all have the same number
        return False
    return psutil.pid_exists(process)


def _replace(out: Path, temporary: Path) -> None:
    """Put the new folder in the place of the old one, which is back if that fails."""
    if not out.exists():
        temporary.rename(out)
        return
    old = temporary.with_suffix(".old")
    out.rename(old)
    try:
        temporary.rename(out)
    except BaseException:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _cannot_write(out: Path, error: OSError) -> BundleError:
    if error.errno == errno.ENOSPC:
        return BundleError(
            f"The disk became full while {out} was written, so it was removed again; make room, or "
            "choose a folder on another disk."
        )
    return BundleError(
        f"{out} could not be written ({error}); choose another folder, or make it writable."
    )
