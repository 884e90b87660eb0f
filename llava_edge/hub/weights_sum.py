"""The sha256 that names a model's weights, whether one file holds them or several."""

import hashlib
import json
from pathlib import Path


def weights_sum(file: Path) -> str:
    """The sha256 of a file, or of all files that an `index.json` names, one after the other.

    Raises OSError where one is missing.
    """
    digest = hashlib.sha256()
    for part in _parts(file):
        with part.open("rb") as stream:
            hashlib.file_digest(stream, lambda: digest)
    return digest.hexdigest()


def _parts(file: Path) -> list[Path]:
    if not file.name.endswith(".index.json"):
        return [file]
    names = json.loads(file.read_text(encoding="utf-8"))["weight_map"].values()
    return [file.parent / name for name in sorted(set(names))]
