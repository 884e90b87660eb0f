"""A bundle from the Hugging Face hub, fetched into the models folder whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llava_edge.core.bundle import (
    BUNDLE_JSON,
    bundle_files,
    is_name,
    read_bundle,
    read_config,
    verify_checksums,
)
from llava_edge.core.new_folder import check_target, new_folder
from llava_edge.core.stored_models import unfinished_folder
from llava_edge.core.user_folders import models_folder
from llava_edge.errors import BundleError, UsageError
from llava_edge.hub.fetching import fetching
from llava_edge.hub.find_model import HUB_NAME


def pull(repository: str, name: str | None = None, *, force: bool = False) -> Path:
    """Fetch the bundle that the hub holds as `org/name`, with a progress bar; returns its folder.

        pull("somebody/a-bundle")  # llava_edge.load("a-bundle") finds it then

    - name: the bundle's name in the models folder; by default what follows `org/`.
    - force: whether a bundle of that name is replaced.

    Every file is checked by its sha256 before the bundle takes its place. A file whose connection
    broke off goes on, and after a failure files that had come whole are not fetched again. Raises
    UsageError for a name of another form, BundleError where the hub does not hold a bundle that
    this version reads, where it cannot be fetched, or the name is taken.
    """
    out = target(repository, name)
    check_target(out, force=force)
    fetched = unfinished_folder(out.name)
    with fetching(repository, BundleError):
        _fetch(repository, fetched)
    with _judged(repository, fetched):
        config = read_bundle(fetched)
        verify_checksums(fetched, config)
    with new_folder(out) as folder:
        for file in (BUNDLE_JSON, *config.files):
            (fetched / file).rename(folder / file)
    shutil.rmtree(fetched, ignore_errors=True)
    return out


def target(repository: str, name: str | None) -> Path:
    """The folder of a bundle that is fetched from a repository and gets this name, or its own."""
    if not HUB_NAME.fullmatch(repository):
        raise UsageError(f'"{repository}" is no name on the Hugging Face hub; give org/name.')
    name = repository.partition("/")[2] if name is None else name
    if not is_name(name):
        raise UsageError(
            f'"{name}" cannot be a bundle\'s name; give one without / and leading dot.'
        )
    return models_folder() / name


def _fetch(repository: str, folder: Path) -> None:
    """Fetch bundle.json, and then the files that a bundle for its devices has."""
    import huggingface_hub as hub

    about = hub.HfApi().model_info(repository)
    if BUNDLE_JSON not in [file.rfilename for file in about.siblings or []]:
        raise BundleError(
            f"{repository} holds no bundle, since it has no {BUNDLE_JSON}; if it is a LLaVA "
            "checkpoint, give --export."
        )
    hub.hf_hub_download(repository, BUNDLE_JSON, revision=about.sha, local_dir=folder)
    with _judged(repository, folder):
        files = bundle_files(read_config(folder).devices)
    hub.snapshot_download(repository, revision=about.sha, local_dir=folder, allow_patterns=[*files])


@contextmanager
def _judged(repository: str, folder: Path) -> Iterator[None]:
    """Within it, files that are no bundle are removed, and the error says whose they are."""
    try:
        yield
    except BundleError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise BundleError(str(error).replace(str(folder), repository)) from error
