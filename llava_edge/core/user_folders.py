"""Where this program keeps its own files, by the custom of each system."""

import os
from pathlib import Path

NAME = "llava-edge"
MODELS_VARIABLE = "LLAVA_EDGE_MODELS"


def data_folder() -> Path:
    """What the user would miss: bundles."""
    from platformdirs import user_data_path  # late: most imports of the package ask for none

    return user_data_path(NAME, appauthor=False)


def models_folder() -> Path:
    """Where bundles lie by name: the folder that `$LLAVA_EDGE_MODELS` names, or data_folder()."""
    named = os.environ.get(MODELS_VARIABLE)
    return Path(named).expanduser() if named else data_folder()


def cache_folder() -> Path:
    """What can be made again."""
    from platformdirs import user_cache_path

    return user_cache_path(NAME, appauthor=False)
