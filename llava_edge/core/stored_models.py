"""The bundles of the models folder: which there are, and how one is removed."""

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from llava_edge.core.bundle import bundle_names, is_name, read_bundle
from llava_edge.core.bundle_config import BundleConfig
from llava_edge.core.user_folders import models_folder
from llava_edge.errors import BundleError

_log = logging.getLogger("llava_edge")


@dataclass(frozen=True)
class StoredModel:
    """A bundle in the models folder, which `load` finds by its name."""

    name: str
    path: Path
    config: BundleConfig  # what its bundle.json says; `config.size` is its bytes


def models() -> tuple[StoredModel, ...]:
    """The bundles in the models folder, sorted by name.

        for model in llava_edge.models():
            print(model.name, model.config.size)

    The models folder is the one that `$LLAVA_EDGE_MODELS` names, or else the data folder of
    llava-edge. Nothing is hashed. A bundle that is damaged or of another format version is left
    out, and the logger "llava_edge" warns of it.
    """
    found = []
    for name in bundle_names():
        path = models_folder() / name
        try:
            found.append(StoredModel(name, path, read_bundle(path)))
        except BundleError as error:
            _log.warning(error)
    return tuple(found)


def remove(name: str) -> Path:
    """Delete a bundle of the models folder, and return where it was.

    What an unfinished `pull` has left of it goes too. Of a link to a folder elsewhere only the link
    is deleted. Raises BundleError where there is no bundle of that name, or it cannot be deleted.
    """
    path = models_folder() / name
    whole = [path] if name in bundle_names() else []
    begun = [unfinished_folder(name)] if is_name(name) and unfinished_folder(name).is_dir() else []
    if not (whole or begun):
        raise BundleError(
            f"There is no bundle {name} in {models_folder()}; `llava-edge list` says which there "
            "are."
        )
    try:
        for doomed in (*whole, *begun):
            _delete(doomed)
    except OSError as error:
        raise BundleError(
            f"{path} could not be removed ({error}); end the programs that use it, or make it "
            "writable."
        ) from error
    return path


def unfinished_folder(name: str) -> Path:
    """Where the files of a bundle are while it is fetched."""
    return models_folder() / f".{name}.part"


def _delete(path: Path) -> None:
    """A folder that takes another name first, so that no part of it is ever taken for a bundle."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path.rename(path.with_name(f".{path.name}.{os.getpid()}.tmp")))
