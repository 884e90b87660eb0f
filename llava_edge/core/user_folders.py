"""Where this program keeps its own files, by the custom of each system."""

from pathlib import Path

from platformdirs import user_cache_path, user_data_path

NAME = "llava-edge"


def data_folder() -> Path:
    """What the user would miss: bundles."""
    return user_data_path(NAME, appauthor=False)


def cache_folder() -> Path:
    """What can be made again."""
    return user_cache_path(NAME, appauthor=False)
