"""Where this program keeps its own files, by the custom of each system."""

import os
import sys
from pathlib import Path


def data_folder() -> Path:
    """What the user would miss: bundles."""
    return _user_folder("XDG_DATA_HOME", ".local/share", "Library/Application Support")


def cache_folder() -> Path:
    """What can be made again."""
    return _user_folder("XDG_CACHE_HOME", ".cache", "Library/Caches")


def _user_folder(variable: str, linux: str, mac: str) -> Path:
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local"
    elif sys.platform == "darwin":
        base = Path.home() / mac
    else:
        base = os.environ.get(variable) or Path.home() / linux
    return Path(base) / "llava-edge"
