"""Where this program keeps its own files, by the custom of each system."""

from pathlib import Path

NAME = "llava-edge"


def data_folder() -> Path:
    """What the user would miss: bundles."""
    from platformdirs import user_data_path  # late: most imports of the package ask for none

    return user_data_path(NAME, appauthor=False)


def cache_folder() -> Path:
    """What can be made again."""
    from platformdirs import user_cache_path

    return user_cache_path(NAME, appauthor=False)
