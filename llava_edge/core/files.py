"""Files: written whole or not at all, and known by their sha256."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all: under a temporary name first, which is then changed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def open_to_others(path: Path) -> None:
    """Give a file, or a folder and all in it, the modes that the umask gives to new ones.

    safetensors and tempfile write for the owner alone, and a checkpoint is often read by others.
    Raises OSError where the folder that it lies in cannot be written to.
    """
    probe = path.with_name(f".{path.name}.{os.getpid()}.mode")
    probe.mkdir()
    try:
        folder_mode = probe.stat().st_mode
        (probe / "file").touch()
        file_mode = (probe / "file").stat().st_mode
    finally:
        (probe / "file").unlink(missing_ok=True)
        probe.rmdir()
    for found in (path, *path.rglob("*")):
        found.chmod(folder_mode if found.is_dir() else file_mode)


def sha256_of(path: Path, tell: Callable[[int], None] = lambda count: None) -> str:
    """The sha256 of a file; raises OSError where it cannot be read.

    `tell` is called with the number of bytes that were read since the last time.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
            tell(len(chunk))
    return digest.hexdigest()
